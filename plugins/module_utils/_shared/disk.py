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
# Files without content take no bytes, but no file system has endless room for files. mkfs.ext4 makes room for one in
# 16 KiB, and environments of conda have about one in 40.
BYTES_A_FILE, FEWEST_FILES = 8192, 100_000
UNITS = ("KiB", "MiB", "GiB", "TiB")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00")


@dataclass(frozen=True)
class Use:
    bytes: int
    measured: str  # ISO 8601, UTC
    files: int = 0  # and folders; only counted where a limit holds

    @property
    def when(self) -> str:
        return f"{self.measured[:10]} {self.measured[11:16]} UTC"


def uses(content: Mapping[str, Any]) -> dict[str, Use]:
    """By the user's name; raises ValueError."""
    users = content.get("users")
    if content.get("version") != VERSION or not isinstance(users, dict):
        raise ValueError(f"it is not of version {VERSION}")
    found = {}
    use: Any
    for name, use in users.items():
        use = use if isinstance(use, dict) else {}
        count, measured, files = use.get("bytes"), use.get("measured"), use.get("files", 0)
        counted = _is_count(count) and _is_count(files)
        if not counted or not isinstance(measured, str) or not _TIME.fullmatch(measured):
            raise ValueError(f"the size of {name!r} is none")
        found[name] = Use(count, measured, files)
    return found


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def late(content: Mapping[str, Any]) -> list[str]:
    """Whose folders could not be added up in the time that each gets, those tried longest ago first."""
    names = content.get("late")
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def content(found: Mapping[str, Use], late: Sequence[str] = ()) -> dict[str, Any]:
    users: dict[str, dict[str, Any]] = {}
    for name, use in found.items():
        users[name] = {"bytes": use.bytes, "measured": use.measured}
        if use.files:
            users[name]["files"] = use.files
    return {"version": VERSION, "users": users, **({"late": list(late)} if late else {})}


def most_files(limit: int) -> int:
    """How many files and folders a limit in bytes allows; 0 means that there is no limit.

    >>> most_files(10 << 30), most_files(1 << 20), most_files(0)
    (1310720, 100000, 0)
    """
    return max(FEWEST_FILES, limit // BYTES_A_FILE) if limit else 0


def warning(limits: Mapping[str, Any]) -> int | None:
    """From how many bytes on people are warned."""
    limit, own = limits.get("disk"), limits.get("disk_warning")
    if own or not limit:
        return own
    return int(limit) * 9 // 10


def is_much(use: Use, limits: Mapping[str, Any]) -> bool:
    most = warning(limits)
    return (most is not None and use.bytes >= most) or _many_files(use, limits)


def _many_files(use: Use, limits: Mapping[str, Any]) -> bool:
    most = most_files(limits.get("disk") or 0)
    return bool(most) and use.files >= most * 9 // 10


def taken(use: Use, limits: Mapping[str, Any]) -> str:
    """
    >>> taken(Use(5 << 30, "2030-01-10T03:17:00+00:00"), {"disk": 10 << 30})
    '5.0 GiB of 10.0 GiB'
    """
    limit = limits.get("disk")
    said = f"{size(use.bytes)} of {size(limit)}" if limit else size(use.bytes)
    return f"{said}, with {use.files} of {most_files(limit)} files" if limit and _many_files(use, limits) else said


def notice(use: Use, limits: Mapping[str, Any]) -> str | None:
    """What a user reads on the hub's pages."""
    if not is_much(use, limits):
        return None
    return (
        f"Your folders take {taken(use, limits)} on disk, as of {use.when}. Delete what you do not need any more; "
        "this notice goes within a day. If you need more room, ask the administrator."
    )


def size(count: float) -> str:
    """Bytes as people read them. The inventory has a form of its own.

    >>> size(1), size(1536), size(543 << 20), size((1 << 30) - 1)
    ('1 byte', '1.5 KiB', '543 MiB', '1.0 GiB')
    """
    if count < 1024:
        return "1 byte" if count == 1 else f"{count:.0f} bytes"
    power = 1
    while round(count / 1024**power) >= 1024 and power < len(UNITS):
        power += 1
    found = count / 1024**power
    return f"{found:.{0 if found >= 100 else 1}f} {UNITS[power - 1]}"
