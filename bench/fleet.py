# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a fleet costs its control node: playbooks/plan.yml for 50 hosts with 500 instances. As root; needs no host.

All hosts are this machine, through local connections, so only the plan can run: it reads and changes nothing. The site
playbook would set up all of them in one place. No instance is there, so nothing is compared. The modules run here, too:
they take processor time, so real hosts are planned faster, but their memory is not counted.
"""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from testbed.run import ROOT, Failure, step

HOSTS = 50
LABS, HUBS, USERS = 8, 2, 30  # of each host, and of each hub
FORKS = 20
LOOK = 0.25


def instances(host: int) -> list[dict[str, Any]]:
    """The instances of a host, with names that no other host has."""
    lab = {"kind": "lab", "memory": "8G", "password": secrets.token_hex(12)}
    users = [{"name": f"user{user}@uni.example", "password": secrets.token_hex(12)} for user in range(USERS)]
    hub = {"kind": "hub", "users": users}
    return [
        {
            "name": f"fleet{host}x{number}", "url": f"https://site{number}.host{host}.example.org/",
            "image": "registry.example.org/lab:1.0", "reset": {"at": "01:25", "pull": True}, **kind,
        }
        for number, kind in enumerate([lab] * LABS + [hub] * HUBS)
    ]  # fmt: skip


def inventory(path: Path, hosts: int) -> Path:
    here = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    names = {f"host{host}.example.org": {"jupyter_instances": instances(host)} for host in range(hosts)}
    shared = {**here, "jupyter_tls": {"mode": "selfsigned"}}
    path.write_text(json.dumps({"all": {"vars": shared, "hosts": names}}))
    return path


def kibibytes(playbook: int) -> int:
    """The memory of a process and its forks, each page that several share by its share."""
    total = 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
            if playbook in (int(process.name), parent):
                lines = (process / "smaps_rollup").read_text().splitlines()
                total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
        except OSError:
            pass  # it has just ended
    return total


def plan(folder: Path, hosts: int) -> tuple[float, int]:
    """The seconds of a run, and the most memory of ansible-playbook and its forks in MiB."""
    command = [Path(sys.executable).parent / "ansible-playbook", "--forks", str(FORKS),
               "-i", inventory(folder / f"{hosts}.json", hosts), ROOT / "playbooks" / "plan.yml"]  # fmt: skip
    output, most = folder / "output", 0
    began = time.perf_counter()
    with step(f"plan.yml with {hosts} host(s)"), output.open("w") as file:
        process = subprocess.Popen(command, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT)
        while process.poll() is None:
            most = max(most, kibibytes(process.pid))
            time.sleep(LOOK)
        seconds = time.perf_counter() - began
    text = output.read_text()
    if process.returncode or any(f"{each['name']}: missing" not in text for each in instances(hosts - 1)):
        raise Failure(text[-4000:])
    return seconds, most // 1024


def measure() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as scratch:
        one, _unused = plan(Path(scratch), 1)
        seconds, memory = plan(Path(scratch), HOSTS)
    return {
        "hosts": HOSTS, "instances": HOSTS * (LABS + HUBS), "forks": FORKS, "peak_MiB": memory,
        "one_host_s": round(one, 1), "all_s": round(seconds, 1), "each_host_s": round(seconds / HOSTS, 2),
        "goal": "under 1 GB",
    }  # fmt: skip
