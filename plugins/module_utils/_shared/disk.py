# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What users keep on disk, as the file disk.json of a hub says, and what is said about it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

VERSION = 1
# Jupyter does not start where it can't write what it notes about servers and kernels; this is memory, and has room.
ENVIRONMENT = {"JUPYTER_RUNTIME_DIR": "/dev/shm/jupyter"}  # noqa: S108
UNITS = ("KiB", "MiB", "GiB", "TiB")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00")


@dataclass(frozen=True)
class Use:
    bytes: int
    measured: str  # ISO 8601, UTC

    @property
    def when(self) -> str:
        return f"{self.measured[:10]} {self.measured[11:16]} UTC"


def uses(content: Mapping[str, Any]) -> dict[str, Use]:
    """By the user's name; raises ValueError."""
    users = content.get("users")
    if content.get("version") != VERSION or not isinstance(users, dict):
        raise ValueError(f"it is not of version {VERSION}")
    found = {}
    for name, use in users.items():
        count, measured = (use.get(key) if isinstance(use, dict) else None for key in ("bytes", "measured"))
        if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count < 2**63:
            raise ValueError(f"the size of {name!r} is none")
        if not isinstance(measured, str) or not _TIME.fullmatch(measured):
            raise ValueError(f"the size of {name!r} is none")
        found[name] = Use(count, measured)
    return found


def late(content: Mapping[str, Any]) -> list[str]:
    """Whose folders could not be added up in the time that each gets, those tried longest ago first."""
    names = content.get("late")
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def content(found: Mapping[str, Use], late: Sequence[str] = ()) -> dict[str, Any]:
    users = {name: {"bytes": use.bytes, "measured": use.measured} for name, use in found.items()}
    return {"version": VERSION, "users": users, **({"late": list(late)} if late else {})}


def warning(limits: Mapping[str, Any]) -> int | None:
    """From how many bytes on people are warned."""
    limit, own = limits.get("disk"), limits.get("disk_warning")
    if own or not limit:
        return own
    return int(limit) * 9 // 10


def is_much(use: Use, limits: Mapping[str, Any]) -> bool:
    most = warning(limits)
    return most is not None and use.bytes >= most


def taken(use: Use, limits: Mapping[str, Any]) -> str:
    """
    >>> taken(Use(5 << 30, "2030-01-10T03:17:00+00:00"), {"disk": 10 << 30})
    '5.0 GiB of 10.0 GiB'
    """
    limit = limits.get("disk")
    return f"{size(use.bytes)} of {size(limit)}" if limit else size(use.bytes)


def notice(use: Use, limits: Mapping[str, Any]) -> str | None:
    """What a user reads on the hub's pages."""
    if not is_much(use, limits):
        return None
    return (
        f"Your folders take {taken(use, limits)} on disk, as of {use.when}. Delete what you do not need any more; "
        "this notice goes within a day. If you need more room, ask the administrator."
    )


def size(count: int) -> str:
    """
    >>> size(1536 << 20)
    '1.5 GiB'
    """
    power = 1
    while count >= 1024 ** (power + 1) and power < len(UNITS):
        power += 1
    return f"{count / 1024**power:.1f} {UNITS[power - 1]}"
