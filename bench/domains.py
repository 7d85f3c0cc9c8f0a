# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a network and a domain for each user add to the start of a server. Brings up a host of its own.

Three hubs share an engine, and the same person starts a server in each in turns, STARTS times. The collection has no
option for one network for all, so one of them has a file of extra_config that undoes the networks.
"""

from __future__ import annotations

import os
import secrets
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from testbed import __main__ as testbed
from testbed.hub_client import Hub
from testbed.run import ROOT, run, step

from .hub import TIMEOUT, spawn
from .site import IMAGE, inventory, site

HOST, PORT, ENGINE, USER = "carrel-bench-6", 8476, "benchstarts", "ada"
STARTS = int(os.environ.get("DOMAINS_STARTS", "15"))
DOMAIN = "bench.test"
ONE_NETWORK = """
from carrel_hub import networks
networks.name_of = lambda network, user: network
networks.Networks.make = networks.Networks.join = networks.Networks.remove = lambda *arguments: None
"""
HUBS = ("one_network", "own_networks", "own_networks_and_domains")
FIGURES = ("server_ready", "kernel_answers")


def declared(folder: Path, password: str) -> list[dict[str, Any]]:
    extra = folder / "one_network.py"
    extra.write_text(ONE_NETWORK)
    own: tuple[dict[str, Any], ...] = ({"extra_config": str(extra)}, {}, {"user_domains": True})
    return [
        {
            "name": f"starts{number}", "kind": "hub", "url": f"https://starts{number}.{DOMAIN}:{PORT}/",
            "tls": "selfsigned", "image": IMAGE, "engine": ENGINE,
            "users": [{"name": USER, "password": password}], **more,
        }
        for number, more in enumerate(own)
    ]  # fmt: skip


def networks(hub: str) -> int:
    """How many networks the person's server and its hub have to themselves."""
    script = 'DOCKER_HOST="unix:///run/user/$(id -u)/docker.sock" exec docker network ls --quiet --filter "$1"'
    return len(run("docker", "exec", "--user", ENGINE, HOST, "sh", "-c", script, "sh", f"name={hub}_users_").split())


def trusted(folder: Path, url: str) -> str:
    """The certificate that the host has made for an address."""
    name = url.removeprefix("https://").partition(":")[0]
    certificate = folder / f"{name}.crt"
    certificate.write_text(run("docker", "exec", HOST, "cat", f"/etc/ssl/carrel/{name}.crt"))
    return str(certificate)


def starts(folder: Path, instances: list[dict[str, Any]], password: str) -> dict[str, dict[str, list[float]]]:
    found: dict[str, dict[str, list[float]]] = {name: {figure: [] for figure in FIGURES} for name in HUBS}
    hubs = [Hub(each["url"], trusted(folder, each["url"]), TIMEOUT).login(USER, password) for each in instances]
    try:
        for number in range(STARTS + 1):
            for name, instance, hub in zip(HUBS, instances, hubs):
                seconds = spawn(hub)
                own = networks(instance["name"])
                if own != (0 if name == HUBS[0] else 1):
                    raise SystemExit(f"{name}: {own} networks of servers, so this compares something else")
                hub.stop()
                if number:  # the first one warms up
                    for figure, each in zip(FIGURES, seconds):
                        found[name][figure].append(each)
    finally:
        for hub in hubs:
            hub.stop()
            hub.http.close()
    return found


def compare(found: dict[str, dict[str, list[float]]]) -> dict[str, Any]:
    """Medians, and of what each adds: differences of starts that followed each other meet the same machine."""

    def more(name: str, than: str) -> dict[str, float]:
        return {
            f"{figure}_s": round(statistics.median(a - b for a, b in zip(found[name][figure], found[than][figure])), 2)
            for figure in FIGURES
        }

    medians = {
        name: {f"{figure}_s": round(statistics.median(each), 2) for figure, each in of_it.items()}
        for name, of_it in found.items()
    }
    one, own, domains = HUBS
    return {
        "starts": len(found[one][FIGURES[0]]), **medians, "more_with_own_networks": more(own, one),
        "more_with_domains": more(domains, own), "more_with_both": more(domains, one),
        "goal": "at most 0.3 s more, each",
    }  # fmt: skip


def measure() -> dict[str, Any]:
    sys.path.insert(0, str(ROOT / "tests" / "integration"))
    from apache_front import names_below

    password = secrets.token_hex(12)
    testbed.up("bench", [f"{HOST}={PORT}"])
    try:
        with tempfile.TemporaryDirectory() as scratch, names_below(DOMAIN):
            instances = declared(Path(scratch), password)
            with step(f"site.yml with {len(instances)} hubs"):
                site(inventory(Path(scratch) / "hubs.json", instances, HOST))
            with step(f"{STARTS} starts in each of {len(instances)} hubs"):
                return compare(starts(Path(scratch), instances, password))
    finally:
        testbed.down("bench")
