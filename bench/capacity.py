# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How many people a host holds: memory and processors of a hub, and of its servers, idle and at work. Brings up a host.

CAPACITY_USERS says for how many running servers; the last numbers are left out once the machine has no memory for them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from testbed import pki
from testbed.run import ROOT, Failure, run, step

from . import stays
from .site import hub_host

HOST, PORT, NAME = "carrel-bench-8", 8479, "benchroom"
COUNTS = [int(each) for each in os.environ.get("CAPACITY_USERS", "10,100,300").split(",")]
AT_WORK = 10
SETTLE, SECONDS = 20, 60
SPARE = 2048  # MiB that stay free
# By the first of these texts that a process's command line has. Other processes are not counted.
KINDS = {
    # first: docker-init has the command that it runs in its own
    "engine": ("containerd", "dockerd", "rootlesskit", "slirp4netns", "docker-proxy", "docker-init", "pasta"),
    "kernels": ("ipykernel_launcher",),
    "servers": ("jupyterhub-singleuser", "jupyter-labhub", "jupyterhub.singleuser"),
    "proxy": ("configurable-http-proxy", "traefik"),
    "hub": ("jupyterhub",),
    "apache": ("apache2",),
}
# What runs on the host, by kind: how many processes, their memory, each shared page by its share, and processor time.
PROBE = """
import json, os, pathlib, sys
kinds, found, ticks = json.loads(sys.argv[1]), {}, os.sysconf("SC_CLK_TCK")
for process in pathlib.Path("/proc").glob("[0-9]*"):
    if process.name == str(os.getpid()):  # its arguments name all kinds
        continue
    try:
        command = (process / "cmdline").read_bytes().decode(errors="replace")
        kind = next((kind for kind, texts in kinds.items() if any(text in command for text in texts)), None)
        if kind is None:
            continue
        lines = (process / "smaps_rollup").read_text().splitlines()
        memory = sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
        times = (process / "stat").read_text().rpartition(")")[2].split()
        seconds = (int(times[11]) + int(times[12])) / ticks
    except OSError:
        continue
    one = found.setdefault(kind, {"count": 0, "kB": 0, "cpu_s": 0.0})
    one["count"] += 1
    one["kB"] += memory
    one["cpu_s"] += seconds
print(json.dumps(found))
"""
Usage = Mapping[str, Mapping[str, float]]


def usage() -> Usage:
    found: Usage = json.loads(run("docker", "exec", HOST, "python3", "-c", PROBE, json.dumps(KINDS)))
    return found


def figures(before: Usage, after: Usage, seconds: float) -> dict[str, dict[str, float]]:
    """Return the memory at the end of each kind and of each of its processes, and its share of one processor."""
    return {
        kind: {
            "processes": int(end["count"]), "MiB": round(end["kB"] / 1024),
            "each_MiB": round(end["kB"] / 1024 / end["count"], 1),
            "processors": round(max(0.0, end["cpu_s"] - before.get(kind, {"cpu_s": 0.0})["cpu_s"]) / seconds, 3),
        }
        for kind, end in sorted(after.items())
    }  # fmt: skip


def free() -> int:
    """Return the MiB of memory that the machine could still give."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith("MemAvailable"))


def people(url: str, names: Mapping[str, str], seconds: float) -> subprocess.Popen[str]:
    """Let these people come, from the host's own network, and work for so long."""
    pid = run("docker", "inspect", "--format", "{{.State.Pid}}", HOST)
    process = subprocess.Popen(
        ["nsenter", f"--net=/proc/{pid}/ns/net", sys.executable, "-m", "bench.stays"],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdin
    process.stdin.write(json.dumps({"url": url, "ca": str(pki.CA), "people": names, "seconds": seconds}))
    process.stdin.close()
    return process


def came(process: subprocess.Popen[str]) -> None:
    """Wait until they all have servers."""
    assert process.stdout
    said = process.stdout.readline().strip()
    if said != stays.ALL_HERE:
        raise Failure(f"not all have servers: {said}")


def ended(process: subprocess.Popen[str]) -> None:
    assert process.stdout
    with process:
        said = process.stdout.read()
    if process.returncode:
        raise Failure(f"people at work were disturbed: {said}")


def in_a_minute() -> dict[str, dict[str, float]]:
    time.sleep(SETTLE)  # servers that have just started are not idle yet
    before, began = usage(), time.monotonic()
    time.sleep(SECONDS)
    return figures(before, usage(), time.monotonic() - began)


def idle(url: str, everybody: Mapping[str, str], counts: Sequence[int]) -> dict[str, Any]:
    """More and more servers without kernels, as long as there is memory for them."""
    names, found, there = list(everybody), {}, 0
    for count in counts:
        each = found[str(there)]["servers"]["MiB"] / there if there else 0.0
        if (count - there) * each > free() - SPARE:
            return {**found, "no_memory_for": count}
        with step(f"{count} people with servers"):
            process = people(url, {name: everybody[name] for name in names[there:count]}, 0)
            came(process)
            ended(process)
        there = count
        with step(f"{count} idle servers for {SECONDS} s"):
            found[str(count)] = in_a_minute()
    return found


def working(url: str, names: Mapping[str, str]) -> dict[str, Any]:
    """These people run a cell each second."""
    with step(f"{len(names)} people who run a cell each second"):
        process = people(url, names, SETTLE + 2 * SECONDS)
        came(process)
        found = in_a_minute()
        ended(process)
    return found


def measure() -> dict[str, Any]:
    with hub_host(HOST, PORT, NAME, max(COUNTS)) as (url, everybody):
        at_work = working(url, dict(list(everybody.items())[:AT_WORK]))
        return {"at_work": {str(AT_WORK): at_work}, "idle": idle(url, everybody, sorted(COUNTS))}
