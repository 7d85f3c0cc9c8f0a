# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find programs of an engine that were replaced on disk, for example by an upgrade, and still run as before."""

from __future__ import annotations

import os

from ansible_collections.carrel.jupyter.plugins.module_utils._engine.programs import PROGRAMS
from ansible_collections.carrel.jupyter.plugins.module_utils._engine.rootless_docker import UNIT

DELETED = " (deleted)"  # proc_pid_exe(5)


def replaced(uid: int, proc: str = "/proc") -> list[str]:
    """Return the programs. Processes in containers are left out: they have other names and control groups."""
    found = set()
    for pid in filter(str.isdecimal, os.listdir(proc)):
        try:
            program = os.readlink(os.path.join(proc, pid, "exe"))
            with open(os.path.join(proc, pid, "cgroup"), encoding="utf-8", errors="replace") as stream:
                group = stream.read()
        except OSError:
            continue  # it has just ended, or this program may not look, as carrel-metrics (ptrace(2))
        name = os.path.basename(program.removesuffix(DELETED))
        if program.endswith(DELETED) and name in PROGRAMS and f"/user@{uid}.service/app.slice/{UNIT}" in group:
            found.add(name)
    return sorted(found)
