# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A class at a hub, beside JupyterHub with DockerSpawner on a rootful engine. Brings up a host of its own.

The other hub is set up as jupyterhub-deploy-docker documents it, on the same test host: the host's own dockerd, the
same images of hub and servers, NativeAuthenticator, one network for all, a volume for each user. People come to it
without TLS and without Apache, as its documentation leaves both to the reader: a little less work than here.

Both run without limits, because test hosts can enforce none. HUB_USERS says how many people come, WAVE at once.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from testbed import deploy_docker, pki
from testbed.patience import until
from testbed.run import ROOT, Failure, run, step, succeeds

from .figures import summary, times
from .site import IMAGE, hub_host

HOST, PORT, NAME = "carrel-bench-5", 8475, "benchclass"
OTHER, OTHER_PORT, PROJECT, ENGINE = "benchother", 8000, "/srv/benchother", "/srv/benchother-engine"
USERS = int(os.environ.get("HUB_USERS", "100"))
WAVE = 10
# From the account's engine to the host's, so that both hubs are the same programs.
COPY = """
export DOCKER_HOST=unix:///run/user/$(id -u "$1")/docker.sock
image=$(docker inspect --format '{{.Config.Image}}' "$1-hub-1")
docker save "$image" | DOCKER_HOST=unix:///var/run/docker.sock docker load --quiet >&2
echo "$image"
"""


def on(*command: str) -> str:
    return run("docker", "exec", HOST, *command)


def other_hub() -> str:
    """Set it up; return its address in the host's network."""
    with step("a rootful engine with another hub"):
        on("systemd-run", "--quiet", f"--unit={OTHER}", "dockerd", f"--data-root={ENGINE}")
        until(lambda: succeeds("docker", "exec", HOST, "docker", "info"), "the rootful engine answers", error=Failure)
        on("docker", "pull", "--quiet", IMAGE)
        hub_image = on("bash", "-euo", "pipefail", "-c", COPY, "copy", NAME).splitlines()[-1]
        settings: dict[str, str | int] = {
            "HUB_IMAGE": hub_image, "LAB_IMAGE": IMAGE, "NAME": OTHER, "PORT": OTHER_PORT, "ADMIN": "prof",
        }  # fmt: skip
        with tempfile.TemporaryDirectory() as scratch:
            deploy_docker.write(Path(scratch), settings)
            on("mkdir", PROJECT)
            run("docker", "cp", f"{scratch}/.", f"{HOST}:{PROJECT}")
        on("docker", "compose", "--project-directory", PROJECT, "up", "--detach", "--quiet-pull")
        url = f"http://127.0.0.1:{OTHER_PORT}/"
        health = ["python3", "-c", f"import urllib.request; urllib.request.urlopen('{url}hub/health', timeout=5)"]
        until(lambda: succeeds("docker", "exec", HOST, *health), "the other hub answers", error=Failure)
    return url


def visits(hubs: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    pid = run("docker", "inspect", "--format", "{{.State.Pid}}", HOST)
    with step(f"{USERS} people at each of {len(hubs)} hubs, {WAVE} at once"):
        done = subprocess.run(
            ["nsenter", f"--net=/proc/{pid}/ns/net", sys.executable, "-m", "bench.waves"],
            cwd=ROOT, input=json.dumps({"size": WAVE, "hubs": hubs}), text=True, capture_output=True, check=False,
        )  # fmt: skip
    if done.returncode:
        raise Failure(done.stderr)
    found: dict[str, list[dict[str, Any]]] = json.loads(done.stdout)
    return found


def measure() -> dict[str, Any]:
    with hub_host(HOST, PORT, NAME, USERS) as (url, people):
        found = visits(
            {
                "ours": {"url": url, "ca": str(pki.CA), "sign_up": False, "people": people},
                "other": {"url": other_hub(), "ca": None, "sign_up": True, "people": people},
            }
        )
    ours, other = summary(found["ours"]), summary(found["other"])
    return {
        "at_once": WAVE, "limits": "none", "this_collection": ours, "dockerspawner_on_a_rootful_engine": other,
        "times_the_other": times(ours, other), "goal": "none failed",
    }  # fmt: skip
