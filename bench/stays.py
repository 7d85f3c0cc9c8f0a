# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""People come to a hub, some at a time, work for a while if they are asked to, and leave their servers running.

    python -m bench.stays < settings.json

Run in a test host's network. The settings are {"url", "ca", "people": {USERNAME: PASSWORD}, "seconds": how long each
runs a cell a second}. Prints a line once all have servers, then ends, or once they have worked.
"""

from __future__ import annotations

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from testbed.hub_client import Hub

from .waves import CODE, TIMEOUT

ALL_HERE = "all are here"
AT_ONCE = 10


def come(url: str, ca: str, name: str, password: str) -> Hub:
    """Log in, and start a server unless it runs."""
    hub = Hub(url, ca, TIMEOUT).login(name, password)
    if not hub.user()["servers"]:
        hub.start()
        hub.wait()
    return hub


def work(hub: Hub, seconds: float) -> None:
    with hub.lab() as lab:
        kernel = lab.kernel()
        for _second in range(int(seconds)):
            kernel.run(CODE)
            time.sleep(1)


def main(settings: dict[str, Any]) -> None:
    people: dict[str, str] = settings["people"]
    with ThreadPoolExecutor(AT_ONCE) as threads:
        hubs = list(threads.map(lambda person: come(settings["url"], settings["ca"], *person), people.items()))
    print(ALL_HERE, flush=True)
    if settings["seconds"]:
        with ThreadPoolExecutor(len(hubs)) as threads:
            list(threads.map(lambda hub: work(hub, settings["seconds"]), hubs))


if __name__ == "__main__":
    main(json.load(sys.stdin))
