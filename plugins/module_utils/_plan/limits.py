# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The limits of a container. Labs have them as keys, hubs in limits, groups and users."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._plan import types
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.key import Key, Type
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.problems import Problems
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.schema import (
    INVALID,
    Invalid,
    mapping,
    record,
    whole,
)
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.values import size_text

# Limits of a process, with Docker's names (docker/go-units, ulimit.go).
_ULIMITS = (
    "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rtprio", "rttime",
    "sigpending", "stack",
)  # fmt: skip
_amount = whole(-1, 1 << 40)
_pair = record({"soft": _amount, "hard": _amount}, {"soft": "what holds at first", "hard": "what it can be raised to"})


def _ulimit(value: Any, path: str, problems: Problems) -> dict[str, int] | Invalid:
    """Read one number for both limits, or a soft and a hard one. -1 means no limit."""
    both = isinstance(value, Mapping)
    parts = (_pair if both else _amount)(value, path, problems)
    if isinstance(parts, Invalid) or (both and INVALID in parts.values()):
        return INVALID
    soft, hard = (parts["soft"], parts["hard"]) if both else (parts, parts)
    if hard != -1 and not 0 <= soft <= hard:
        problems.add(f"{path}.soft", "range", value=soft, wanted="a whole number", low=0, high=hard)
        return INVALID
    return {"soft": soft, "hard": hard}


_ulimits = mapping(dict.fromkeys(_ULIMITS, _ulimit))


def read_ulimits(value: Any, path: str, problems: Problems) -> dict[str, Any] | Invalid:
    parts = _ulimits(value, path, problems)
    if isinstance(parts, Invalid) or INVALID in parts.values():
        return INVALID
    return {name: pair for name, pair in parts.items() if pair is not None}


_OF_USERS = "write it in limits, for each user's container"

LAB_LIMITS: dict[str, Key] = {
    "memory": Key(
        # Docker's minimum is 6M (moby, daemon/daemon_unix.go: linuxMinMemory).
        types.size(6 << 20, 64 << 40, "6M", "64T"),
        "Memory of the container.",
        example="8G",
        unset="no limit",
        instead=_OF_USERS,
        handed=False,
    ),
    "shm_size": Key(
        types.size(1 << 20, 64 << 40, "1M", "64T"),
        "Size of /dev/shm; used space counts as memory. PyTorch's data loaders need more than the default.",
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
    "ulimits": Key(
        Type(
            read_ulimits, "a mapping of names to whole numbers or {soft, hard}; -1: no limit", {"nofiles": 4096}, "dict"
        ),
        "Limits of each process; each name is decided separately. With limits above the engine's own, containers "
        "should not start; that was not tested.",
        example={"nofile": {"soft": 4096, "hard": 65536}},
        unset="core 0, so that a crash leaves no file, and otherwise the engine's own",
        instead=_OF_USERS,
        handed=False,
    ),
    "disk": Key(
        types.size(1 << 20, 64 << 40, "1M", "64T"),
        "Disk limit of all kept folders together, of a lab or of each user of a hub. It is enforced if the file "
        "system has project quotas; otherwise there are only warnings.",
        example="10G",
        unset="no limit",
        instead="write it in limits, for each user's folders",
        handed=False,
    ),
}

LIMITS: dict[str, Key] = {
    "memory": LAB_LIMITS["memory"],
    "swap": Key(
        types.size(1 << 20, 64 << 40, "1M", "64T, or 0 for none", zero=True),
        "Swap in addition to memory; 0: none, even if a group or the hub sets some.",
        example="512M",
        unset="none",
    ),
    "shm_size": LAB_LIMITS["shm_size"],
    "cpus": LAB_LIMITS["cpus"],
    "pids": LAB_LIMITS["pids"],
    "ulimits": LAB_LIMITS["ulimits"],
    "disk": LAB_LIMITS["disk"],
    "disk_warning": Key(
        types.size(1 << 20, 64 << 40, "1M", "64T"),
        "Size of the folders above which status and the hub's pages warn.",
        example="8G",
        unset="nine tenths of disk",
    ),
    "gpus": Key(
        types.whole(0, 64),
        "Number of cards of gpu_devices that the server gets for itself while it runs.",
        example=1,
        unset="none",
    ),
}


def settled(own: Any, of_groups: Iterable[Any], of_all: Any) -> Any:
    """Return a user's limit: the user's own, otherwise the largest of the groups', otherwise the hub's."""
    groups = list(of_groups)
    if not any(isinstance(limit, Mapping) for limit in (own, *groups, of_all)):
        return own if own is not None else max(groups, default=of_all)
    widest = {
        name: max((group[name] for group in groups if name in group), key=_reach) for name in set().union(*groups)
    }
    return {
        name: pair for limits in (of_all, widest, own) if isinstance(limits, Mapping) for name, pair in limits.items()
    }


def _reach(pair: Mapping[str, int]) -> tuple[float, float]:
    hard, soft = (math.inf if pair[key] == -1 else pair[key] for key in ("hard", "soft"))
    return hard, soft


def limits_text(limits: Mapping[str, Any]) -> str:
    """For the summary."""
    parts = [
        f"{size_text(limits['memory'])} of memory" if limits["memory"] else "",
        f"{size_text(limits['swap'])} of swap" if limits.get("swap") else "",
        f"{size_text(limits['shm_size'])} of shared memory" if limits["shm_size"] else "",
        f"{limits['cpus']:g} CPU{'' if limits['cpus'] == 1 else 's'}" if limits["cpus"] else "",
        f"{limits['pids']} processes" if limits["pids"] else "",
        f"ulimits {', '.join(limits['ulimits'])}" if limits["ulimits"] else "",
        f"{size_text(limits['disk'])} of disk" if limits["disk"] else "",
        f"{limits['gpus']} of the graphics cards" if limits.get("gpus") else "",
    ]
    return ", ".join(filter(None, parts)) or "none"
