# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""People go through hubs, some at a time: each logs in, starts a server, runs a cell and stops the server.

    python -m bench.waves < settings.json

Run in a test host's network. The settings are {"size": people at once, "hubs": {NAME: {"url", "ca" or null, "sign_up":
whether people make their own accounts first, "people": {USERNAME: PASSWORD}}}}. Prints {NAME: [a mapping for each
person]}: the seconds of each step, or what failed.
"""

from __future__ import annotations

import contextlib
import json
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from testbed import deploy_docker
from testbed.hub_client import Hub

TIMEOUT = 300
STEPS = ("log_in", "server_ready", "cell", "stop")
CODE = "print(6 * 7)"


class Site:
    def __init__(self, settings: dict[str, Any]) -> None:
        self.url, self.verify = settings["url"], settings["ca"] or True
        self.people: dict[str, str] = settings["people"]
        if settings["sign_up"]:
            for name, password in self.people.items():
                with Hub(self.url, self.verify, TIMEOUT) as hub:
                    deploy_docker.sign_up(hub, name, password)

    def visit(self, name: str) -> dict[str, Any]:
        """The seconds of each step and of all, or what failed."""
        ends = [time.perf_counter()]
        with Hub(self.url, self.verify, TIMEOUT) as hub:
            try:
                hub.login(name, self.people[name])
                ends.append(time.perf_counter())
                hub.start()
                hub.wait()
                ends.append(time.perf_counter())
                with hub.lab() as lab:
                    printed = lab.run(CODE).strip()
                    if printed != "42":
                        raise RuntimeError(f"the kernel printed {printed!r}")
                    ends.append(time.perf_counter())
                hub.stop()
                ends.append(time.perf_counter())
            except Exception as error:  # one person's failure is a figure, and the others go on
                with contextlib.suppress(Exception):
                    hub.stop()
                return {"failed": f"{STEPS[len(ends) - 1]}: {type(error).__name__}: {error}"[:300]}
        seconds = [end - begin for begin, end in zip(ends, ends[1:])]
        return {**dict(zip(STEPS, seconds)), "all": ends[-1] - ends[0]}

    def wave(self, names: Sequence[str]) -> list[dict[str, Any]]:
        """All of them come at the same moment."""
        gate = threading.Barrier(len(names))

        def come(name: str) -> dict[str, Any]:
            gate.wait()
            return self.visit(name)

        with ThreadPoolExecutor(len(names)) as threads:
            return list(threads.map(come, names))


def main() -> None:
    settings = json.load(sys.stdin)
    sites = {name: Site(of_it) for name, of_it in settings["hubs"].items()}
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in sites}
    order, size = list(sites), settings["size"]
    for site in sites.values():
        site.visit(next(iter(site.people)))  # the first start reads everything from disk, and counts for nobody
    for first in range(0, max(len(site.people) for site in sites.values()), size):
        for name in order:
            found[name] += sites[name].wave(list(sites[name].people)[first : first + size])
        order.reverse()  # whatever else the machine does meets all alike
    print(json.dumps(found))


if __name__ == "__main__":
    main()
