# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the site playbook's time grows with a host's instances, and what an engine costs. Brings up two bare hosts."""

from __future__ import annotations

import secrets
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from testbed import __main__ as testbed
from testbed.run import run, step

from .site import IMAGE, inventory, site

OWN, SHARED = "carrel-bench-2", "carrel-bench-3"
ENGINE = "benchshared"
COUNTS = (1, 5, 20)
RUNS = 3
# What all processes of an account keep in memory, each shared page by its share, and what its engine keeps on disk.
PROBE = """
import os, pathlib, pwd, subprocess, sys
account = pwd.getpwnam(sys.argv[1])
total = 0
for process in pathlib.Path("/proc").glob("[0-9]*"):
    try:
        if process.stat().st_uid == account.pw_uid:
            lines = (process / "smaps_rollup").read_text().splitlines()
            total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    except OSError:
        pass
folder = subprocess.check_output(["du", "-skx", f"/srv/docker/{sys.argv[1]}"], text=True)
print(total // 1024, int(folder.split()[0]) // 1024)
"""


def labs(count: int, engine: str | None = None) -> list[dict[str, Any]]:
    """Labs of one image, each with an engine of its own or all with one."""
    shared = {"engine": engine} if engine else {}
    prefix = "shared" if engine else "own"
    return [
        {
            "name": f"{prefix}{number}", "kind": "lab", "password": secrets.token_hex(12), "image": IMAGE,
            "url": f"https://localhost/{prefix}{number}/", **shared,
        }
        for number in range(count)
    ]  # fmt: skip


def second_runs(host: str, path: Path, instances: Sequence[dict[str, Any]]) -> float:
    """The median of runs that change nothing."""
    declared = inventory(path, list(instances), host)
    with step(f"second run of site.yml with {len(instances)} instance(s) on {host}"):
        return statistics.median(site(declared) for _unused in range(RUNS))


def first_run(host: str, path: Path, instances: Sequence[dict[str, Any]]) -> float:
    declared = inventory(path, list(instances), host)
    with step(f"first run of site.yml with {len(instances)} instance(s) on {host}"):
        return site(declared)


def engine(host: str, account: str) -> dict[str, int]:
    """What an engine costs: memory of what runs as its account, and disk for images and containers.

    What runs in its containers as another user than root has an id of its own and is not counted.
    """
    memory, disk = map(int, run("docker", "exec", host, "python3", "-c", PROBE, account).split())
    return {"memory_MiB": memory, "disk_MiB": disk}


def growth(seconds: dict[int, float]) -> dict[str, Any]:
    """Seconds by the number of instances, and of each further one."""
    least, most = min(seconds), max(seconds)
    further = (seconds[most] - seconds[least]) / max(most - least, 1)
    return {**{f"{count}_s": round(each, 1) for count, each in seconds.items()}, "each_further_s": round(further, 2)}


def own_engines(host: str, folder: Path, counts: Sequence[int] = COUNTS) -> dict[str, Any]:
    """Labs with engines of their own, more and more of them."""
    declared, path = labs(max(counts)), folder / f"{host}.json"
    first, second = {}, {}
    for count in counts:
        first[count] = first_run(host, path, declared[:count])
        second[count] = second_runs(host, path, declared[:count])
    return {
        "first_run_of_one_s": round(first[min(counts)], 1),
        "second_run": growth(second),
        "engine_with_one_lab": engine(host, declared[0]["name"]),
    }


def shared_engine(host: str, folder: Path, counts: Sequence[int] = COUNTS) -> dict[str, Any]:
    """Labs with one engine, all at once."""
    declared, path = labs(max(counts), ENGINE), folder / f"{host}.json"
    first = first_run(host, path, declared)
    second = {count: second_runs(host, path, declared[:count]) for count in counts}
    return {
        "first_run_of_all_s": round(first, 1),
        "second_run": growth(second),
        "engine_with_all_labs": engine(host, ENGINE),
    }


def measure() -> dict[str, Any]:
    testbed.up("bench", [OWN, SHARED])
    try:
        with tempfile.TemporaryDirectory() as scratch:
            own, shared = own_engines(OWN, Path(scratch)), shared_engine(SHARED, Path(scratch))
    finally:
        testbed.down("bench")
    return {
        "engines_of_their_own": own,
        "one_engine": shared,
        "first_run_of_20_to_one": round(shared["first_run_of_all_s"] / own["first_run_of_one_s"], 1),
        "goal": "second run: 10 s and 1 s an instance; first run of 20 at most 3 times that of one",
    }
