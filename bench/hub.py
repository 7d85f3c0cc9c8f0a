# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long a hub's users wait for their servers, against `docker run` of the same image in the same engine.

    python -m bench.hub URL CA HOST ACCOUNT IMAGE < users.json

URL is the hub behind Apache, CA the authority of its certificate, HOST a container of the test bed, ACCOUNT that of the
engine on it, and users.json {"username": "password", …}. IMAGE is what the hub starts, and must be in the engine.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from testbed.hub_client import Hub

RUNS = 3
TIMEOUT = 300
# In the container, whose server is ready once it answers at all. Its own Python asks, so that nothing else is needed.
ASK = """
import time, urllib.error, urllib.request
while True:
    try:
        urllib.request.urlopen("http://127.0.0.1:8888/api", timeout=5)
    except urllib.error.HTTPError:
        break
    except OSError:
        time.sleep(0.02)
    else:
        break
"""


def docker(host: str, account: str, *command: str) -> None:
    """Run a docker command in an account's engine on the host."""
    script = 'DOCKER_HOST="unix:///run/user/$(id -u)/docker.sock" exec docker "$@"'
    subprocess.run(
        ["docker", "exec", "--user", account, host, "sh", "-c", script, "docker", *command],
        check=True, capture_output=True, timeout=TIMEOUT,
    )  # fmt: skip


def direct(host: str, account: str, image: str) -> float:
    """From `docker run` until the server in the container answers."""
    name = f"carrel-bench-{uuid.uuid4().hex[:8]}"
    began = time.perf_counter()
    try:
        docker(host, account, "run", "--detach", "--rm", "--pull=never", "--name", name, image)
        docker(host, account, "exec", name, "python3", "-c", ASK)
        return time.perf_counter() - began
    finally:
        docker(host, account, "rm", "--force", name)


def spawn(hub: Hub) -> tuple[float, float]:
    """From the request for a server until it is ready, and until a kernel in it answers."""
    began = time.perf_counter()
    hub.start()
    hub.wait()
    ready = time.perf_counter() - began
    with hub.lab() as lab:
        if lab.run("print(6 * 7)").strip() != "42":
            raise SystemExit("the kernel cannot calculate")
        return ready, time.perf_counter() - began


def at_once(hubs: list[Hub]) -> list[float]:
    """The times until each of the users has a kernel, when all of them ask at the same moment."""
    gate = threading.Barrier(len(hubs))

    def go(hub: Hub) -> float:
        gate.wait()
        return spawn(hub)[1]

    with ThreadPoolExecutor(len(hubs)) as threads:
        return sorted(threads.map(go, hubs))


def measure(url: str, ca: str, host: str, account: str, image: str, users: dict[str, str]) -> dict[str, Any]:
    """The figures for results.json. The users' servers are stopped before and after."""
    hubs = [Hub(url, ca, TIMEOUT).login(name, password) for name, password in users.items()]
    try:
        for hub in hubs:
            hub.stop()
        times: dict[str, list[float]] = {"docker_run": [], "server_ready": [], "kernel_answers": []}
        for _unused in range(RUNS):  # in turns, so that whatever else the machine does meets both alike
            for name, figure in zip(times, (direct(host, account, image), *spawn(hubs[0]))):
                times[name].append(figure)
            hubs[0].stop()
        many = at_once(hubs)
    finally:
        for hub in hubs:
            hub.stop()
            hub.http.close()
    figures = {f"{name}_s": round(statistics.median(each), 2) for name, each in times.items()}
    return {
        "spawn": {
            **figures, "more_than_docker_run_s": round(figures["kernel_answers_s"] - figures["docker_run_s"], 2),
            "goal": "at most 2 s more",
        },
        "spawn_at_once": {
            "users": len(many), "first_s": round(many[0], 2), "last_s": round(many[-1], 2),
            "last_to_first": round(many[-1] / many[0], 2), "goal": "at most 4 times, with 10 users",
        },
    }  # fmt: skip


if __name__ == "__main__":
    _unused, url, ca, host, account, image = sys.argv
    print(json.dumps(measure(url, ca, host, account, image, json.load(sys.stdin)), indent=2))
