# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The limits of a container: keys of a lab, and of a hub for all, a group or a user."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._plan import types
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.key import Key
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.values import size_text

_OF_USERS = "write it in limits, for each user's container"

LAB_LIMITS: dict[str, Key] = {
    "memory": Key(
        # Docker refuses less than 6M (moby, daemon/daemon_unix.go: linuxMinMemory).
        types.size(6 << 20, 64 << 40, "6M", "64T"),
        "Memory of the container.",
        example="8G",
        unset="no limit",
        instead=_OF_USERS,
        handed=False,
    ),
    "shm_size": Key(
        types.size(1 << 20, 64 << 40, "1M", "64T"),
        "Size of /dev/shm, which counts as memory once it is used. PyTorch's data loaders need more than the default.",
        example="2G",
        unset="64M",
        instead=_OF_USERS,
        handed=False,
    ),
    "cpus": Key(
        types.number(0.01, 4096),
        "Processors of the host that the container may use.",
        example=2,
        unset="no limit",
        instead=_OF_USERS,
        handed=False,
    ),
    "pids": Key(
        types.whole(16, 4194304),
        "Processes and threads of the container.",
        example=2000,
        unset="4096",
        instead=_OF_USERS,
        handed=False,
    ),
}

LIMITS: dict[str, Key] = {
    "memory": LAB_LIMITS["memory"],
    "swap": Key(
        types.size(1 << 20, 64 << 40, "1M", "64T, or 0 for none", zero=True),
        "Swap on top of memory; 0 is none, also where a group or the hub gives some.",
        example="512M",
        unset="none",
    ),
    "shm_size": LAB_LIMITS["shm_size"],
    "cpus": LAB_LIMITS["cpus"],
    "pids": LAB_LIMITS["pids"],
    "gpus": Key(
        types.whole(0, 64),
        "Graphics cards of gpu_devices that the server has to itself while it runs.",
        example=1,
        unset="none",
    ),
}


def settled(own: Any, of_groups: Iterable[Any], of_all: Any) -> Any:
    """What counts for a user: the user's own limit, else the widest of the groups', else the hub's."""
    return own if own is not None else max(of_groups, default=of_all)


def limits_text(limits: Mapping[str, Any]) -> str:
    """For the summary."""
    parts = [
        f"{size_text(limits['memory'])} of memory" if limits["memory"] else "",
        f"{size_text(limits['swap'])} of swap" if limits.get("swap") else "",
        f"{size_text(limits['shm_size'])} of shared memory" if limits["shm_size"] else "",
        f"{limits['cpus']:g} CPU{'' if limits['cpus'] == 1 else 's'}" if limits["cpus"] else "",
        f"{limits['pids']} processes" if limits["pids"] else "",
        f"{limits['gpus']} of the graphics cards" if limits.get("gpus") else "",
    ]
    return ", ".join(filter(None, parts)) or "none"
