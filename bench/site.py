# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What people notice of a host's labs and hubs, and how long the site playbook takes. Brings up a host of its own."""

from __future__ import annotations

import contextlib
import json
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from testbed import __main__ as testbed
from testbed import hosts, pki
from testbed.run import ROOT, Failure, run, step

from . import hub, reset

HOST = "carrel-bench-1"
PORT = 8471
HUB_PORT = 8472
IMAGE = "registry.carrel.test:5000/carrel/lab:1.0"
USERS = 10
RUNS = 3


def inventory(path: Path, instances: list[dict[str, Any]], name: str = HOST) -> Path:
    """Write an inventory of one host."""
    host = {**hosts.variables(), "jupyter_instances": instances}
    path.write_text(json.dumps({"all": {"hosts": {name: host}}}))
    return path


def labs(password: str, count: int) -> list[dict[str, Any]]:
    """Labs on one host, each with an engine of its own."""
    return [
        {
            "name": f"bench{number}", "kind": "lab", "password": password, "image": IMAGE,
            "url": f"https://localhost:{PORT}/" + (f"bench{number}/" if number else ""),
            "login": {"notice": "A benchmark"},
        }
        for number in range(count)
    ]  # fmt: skip


def site(inventory_file: Path) -> float:
    """Run the site playbook; return the seconds that it took."""
    began = time.perf_counter()
    run(Path(sys.executable).parent / "ansible-playbook", "-i", inventory_file, ROOT / "playbooks" / "site.yml")
    return time.perf_counter() - began


@contextlib.contextmanager
def hub_host(host: str, port: int, name: str, count: int) -> Iterator[tuple[str, dict[str, str]]]:
    """Bring up a host with a hub of so many people; yield its URL and their passwords, and take the host down."""
    people = {f"student{number}": secrets.token_hex(12) for number in range(count)}
    url = f"https://localhost:{port}/"
    users = [{"name": person, "password": password} for person, password in people.items()]
    declared = {"name": name, "kind": "hub", "url": url, "image": IMAGE, "users": users}
    testbed.up("bench", [f"{host}={port}"])
    try:
        with tempfile.TemporaryDirectory() as scratch, step(f"site.yml with a hub of {count} people"):
            site(inventory(Path(scratch) / "hub.json", [declared], host))
        yield url, people
    finally:
        testbed.down("bench")


def second_run(folder: Path, password: str, instances: int) -> tuple[float, float]:
    """Return the seconds of the first run and the median of further ones."""
    path = inventory(folder / f"{instances}.json", labs(password, instances))
    with step(f"site.yml with {instances} instance(s)"):
        first = site(path)
        return first, statistics.median(site(path) for _unused in range(RUNS))


def inside(password: str) -> dict[str, Any]:
    """Measure through Apache and directly, from the host's own network."""
    pid = run("docker", "inspect", "--format", "{{.State.Pid}}", HOST)
    port = json.loads(run("docker", "exec", HOST, "cat", "/var/lib/carrel/bench0/instance.json"))["port"]
    with step("download and websocket, through Apache and directly"):
        done = subprocess.run(
            ["nsenter", f"--net=/proc/{pid}/ns/net", sys.executable, "-m", "bench.inside",
             f"https://localhost:{PORT}/", str(pki.CA), f"http://127.0.0.1:{port}/"],
            cwd=ROOT, input=password, text=True, capture_output=True, check=False,
        )  # fmt: skip
    if done.returncode:
        raise Failure(done.stderr)
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def resets(password: str) -> dict[str, Any]:
    """Measure what people notice of a reset."""
    with step("requests during down and up, and during a reset"):
        return reset.measure(f"https://localhost:{PORT}/", str(pki.CA), HOST, "bench0", password)


def spawns(folder: Path) -> dict[str, Any]:
    """Measure how long users wait for their servers in a hub."""
    users = {f"user{number}": secrets.token_hex(12) for number in range(USERS)}
    declared = {
        "name": "benchhub", "kind": "hub", "url": f"https://localhost:{HUB_PORT}/", "image": IMAGE,
        "users": [{"name": name, "password": password} for name, password in users.items()],
    }  # fmt: skip
    path = inventory(folder / "hub.json", [declared])
    with step("site.yml with a hub"):
        site(path)
    with step(f"servers of a hub, one and {USERS} at once"):
        return hub.measure(declared["url"], str(pki.CA), HOST, "benchhub", IMAGE, users)


def measure() -> dict[str, Any]:
    password = secrets.token_hex(12)
    testbed.up("bench", [f"{HOST}={PORT},{HUB_PORT}"])
    try:
        with tempfile.TemporaryDirectory() as scratch:
            first, one = second_run(Path(scratch), password, 1)
            _unused, three = second_run(Path(scratch), password, 3)
            return {
                "first_run_s": round(first, 1),
                "second_run": {
                    "one_instance_s": round(one, 1), "three_instances_s": round(three, 1),
                    "each_further_instance_s": round((three - one) / 2, 1),
                    "goal": "10 s a host and 2 s an instance: 12 s with one",
                },
                **inside(password),
                **resets(password),
                **spawns(Path(scratch)),
            }  # fmt: skip
    finally:
        testbed.down("bench")
