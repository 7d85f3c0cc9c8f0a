# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m bench [PART ...]`: measure all parts or some, write them into bench/results.json and print it."""

from __future__ import annotations

import json
import os
import platform
import sys

from testbed.run import ROOT, Failure

from . import backup, capacity, carto, domains, fleet, images, log_ins, networks, scale, site, user_volumes, whole_hub

PARTS = {
    "site": site.measure,
    "scale": scale.measure,
    "fleet": fleet.measure,
    "log_ins": log_ins.measure,
    "networks": networks.measure,
    "domains": domains.measure,
    "hub": whole_hub.measure,
    "capacity": capacity.measure,
    "rival": carto.measure,
    "volumes": user_volumes.measure,
    "images": images.measure,
    "backup": backup.measure,
}
RESULTS = ROOT / "bench" / "results.json"


def main(chosen: list[str]) -> None:
    unknown = set(chosen) - set(PARTS)
    if unknown:
        raise Failure(f"there is no {', '.join(sorted(unknown))} to measure; there are {', '.join(PARTS)}")
    if os.geteuid() != 0:
        raise Failure("engines and directories of several owners: run as root")
    for part in chosen or PARTS:
        figures = PARTS[part]()
        results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
        machine = {"cores": os.cpu_count(), "kernel": platform.release(), "python": platform.python_version()}
        # One after the other, so that what was measured stays if another part fails.
        RESULTS.write_text(json.dumps({**results, "machine": machine, part: figures}, indent=2) + "\n")
    print(f"\n{RESULTS.read_text()}\nwritten to {RESULTS.relative_to(ROOT)}")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except Failure as failure:
        sys.exit(f"\n{failure}")
