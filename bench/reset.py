# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What people notice of a reset: `docker compose down; docker compose up -d` against carrel-reset, on the same lab."""

from __future__ import annotations

import contextlib
import statistics
import time
from typing import Any

import requests

from testbed.client import Lab
from testbed.load import Load
from testbed.patience import until
from testbed.run import run

from .hub import docker

RUNS = 3
CALM_SECONDS = 3


def down_up(host: str, name: str) -> None:
    """What a cron job does that knows nothing of the instance."""
    compose = ["compose", "--file", f"/srv/{name}/compose.yaml", "--file", f"/srv/{name}/login/compose.yaml"]
    docker(host, name, *compose, "down")
    docker(host, name, *compose, "up", "--detach", "lab-1")


def carrel_reset(host: str, name: str) -> None:
    run("docker", "exec", host, "carrel-reset", name, "--people", "ignore", "--no-pull", "--no-notice")


def wait(url: str, ca: str) -> None:
    def answers() -> bool:
        with contextlib.suppress(requests.RequestException):
            return requests.get(url + "api", verify=ca, timeout=5).ok
        return False

    until(answers, f"{url} answers", pause=0.1)


def measure(url: str, ca: str, host: str, name: str, password: str) -> dict[str, Any]:
    """Requests of a person who is logged in, 20 a second through Apache, in turns for both ways."""
    ways = {"down_up": down_up, "carrel_reset": carrel_reset}
    figures: dict[str, dict[str, list[float]]] = {way: {"failed": [], "longest_gap_s": [], "s": []} for way in ways}
    carrel_reset(host, name)
    with Lab(url, ca).login(password) as lab:
        cookies = dict(lab.http.cookies)
        for _unused in range(RUNS):
            for way, act in ways.items():
                # `up` starts the first server alone
                run("docker", "exec", host, "rm", "--force", f"/var/lib/carrel/{name}/reset/second")
                docker(host, name, "compose", "--file", f"/srv/{name}/compose.yaml", "up", "--detach", "lab-1")
                wait(url, ca)
                with Load(url + "api/contents", ca, cookies) as load:
                    time.sleep(CALM_SECONDS)
                    began = time.perf_counter()
                    act(host, name)
                    wait(url, ca)
                    seconds = time.perf_counter() - began
                    time.sleep(CALM_SECONDS)
                for key, value in (("failed", len(load.failures)), ("longest_gap_s", load.longest_gap), ("s", seconds)):
                    figures[way][key].append(value)
    medians = {
        way: {key: round(statistics.median(values), 2) for key, values in found.items()}
        for way, found in figures.items()
    }
    worst = {f"worst_{key}": round(max(figures["carrel_reset"][key]), 2) for key in ("failed", "longest_gap_s")}
    return {
        "reset": {**medians, **worst, "requests_per_second": 20, "goal": "none failed, no gap over 0.5 s"},
    }
