# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a hub's networks cost, one for each server that runs. Brings up a host of its own."""

from __future__ import annotations

import json
import secrets
import tempfile
import time
from pathlib import Path
from typing import Any

from testbed import __main__ as testbed
from testbed.patience import until
from testbed.run import run, step

from .hub import docker
from .scale import engine
from .site import IMAGE, inventory, site

HOST, PORT, NAME = "carrel-bench-4", 8474, "benchnets"
NETWORKS = 100
# In the hub's container, as the hub does for people who start and stop servers.
MAKE = """
import json, statistics, sys, time
from carrel_hub.egress import Limit
from carrel_hub.networks import Networks
ours, made, joined = Networks(sys.argv[1]), [], []
for number in range(int(sys.argv[2])):
    name = f"{sys.argv[1]}_users_user{number}"
    began = time.perf_counter()
    ours.make(name, f"user{number}", Limit("", None))
    made.append(time.perf_counter() - began)
    ours.join(name)
    joined.append(time.perf_counter() - began - made[-1])
middle = lambda times: round(statistics.median(times), 2)
print(json.dumps({"make_s": middle(made), "join_s": middle(joined), "last_ten_make_s": middle(made[-10:])}))
"""
COUNT = """
import sys
from carrel_hub.networks import PROXY, Networks
print(len(Networks(sys.argv[1])._both()[PROXY]["NetworkSettings"]["Networks"]))
"""
REMOVE = """
import sys, time
from carrel_hub.networks import Networks
began = time.perf_counter()
Networks(sys.argv[1]).settle()
print(round(time.perf_counter() - began, 1))
"""


def in_hub(host: str, program: str, *arguments: str) -> str:
    script = 'DOCKER_HOST="unix:///run/user/$(id -u)/docker.sock" exec docker exec "$@"'
    command = [f"{NAME}-hub-1", "python3", "-c", program, NAME, *arguments]
    return run("docker", "exec", "--user", NAME, host, "sh", "-c", script, "sh", *command)


def compare(host: str) -> dict[str, Any]:
    before = engine(host, NAME)["memory_MiB"]
    with step(f"{NETWORKS} networks"):
        figures = json.loads(in_hub(host, MAKE, str(NETWORKS)))
    memory = engine(host, NAME)["memory_MiB"] - before
    began = time.perf_counter()
    with step("a new proxy"):
        docker(host, NAME, "compose", "--project-directory", f"/srv/{NAME}", "up", "--detach", "--force-recreate",
               "--no-deps", "proxy")  # fmt: skip
        until(lambda: int(in_hub(host, COUNT)) >= NETWORKS, "the new proxy is in all networks")
    rejoined = time.perf_counter() - began
    began = time.perf_counter()
    with step("a restart of the proxy"):
        docker(host, NAME, "restart", "--time", "2", f"{NAME}-proxy-1")
    restarted = time.perf_counter() - began
    with step("removing them"):
        removed = float(in_hub(host, REMOVE))
    return {
        "networks": NETWORKS, **figures, "memory_MiB": memory, "new_proxy_joins_all_s": round(rejoined, 1),
        "restart_of_the_proxy_s": round(restarted, 1), "remove_all_s": removed,
        "goal": "a start takes at most 0.3 s more",
    }  # fmt: skip


def measure() -> dict[str, Any]:
    testbed.up("bench", [f"{HOST}={PORT}"])
    try:
        return on(HOST, PORT)
    finally:
        testbed.down("bench")


def on(host: str, port: int) -> dict[str, Any]:
    declared = {
        "name": NAME, "kind": "hub", "url": f"https://localhost:{port}/", "image": IMAGE,
        "users": [{"name": "user", "password": secrets.token_hex(12)}],
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as scratch, step("site.yml with a hub"):
        site(inventory(Path(scratch) / "hub.json", [declared], host))
    until(lambda: in_hub(host, "print(1)").strip() == "1", "the hub runs")
    return compare(host)
