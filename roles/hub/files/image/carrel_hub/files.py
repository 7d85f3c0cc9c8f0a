# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Paths in the hub's container, and functions that read and write files."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar

T = TypeVar("T")

DIRECTORY = Path(os.environ.get("CARREL_HUB_DIRECTORY", "/etc/carrel/hub"))  # the role's files, read-only
STATE = Path(os.environ.get("CARREL_HUB_STATE", "/srv/jupyterhub"))  # the hub's own files

SETTLED_NS = 10**9


class Unusable(Exception):
    """A file cannot be read, or has the wrong content."""


def read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Unusable(f"{path} cannot be used: {error}") from error
    if not isinstance(content, dict):
        raise Unusable(f"{path} cannot be used: it is not a mapping")
    return content


def signature(path: Path) -> tuple[int, int, int] | None:
    """Return a value that changes with the file. None if there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


class Cached(Generic[T]):
    """Reads a file that is asked for often only once it has changed. Nobody may change what this returns."""

    def __init__(self, read: Callable[[Path], T]) -> None:
        self._read = read
        self._known: tuple[object, T] | None = None

    def __call__(self, path: Path) -> T:
        found, known = signature(path), self._known
        if known is not None and known[0] == (path, found):
            return known[1]
        content = self._read(path)
        # A file that was written just now may be written again with the same size and time.
        settled = found is not None and time.time_ns() - found[1] > SETTLED_NS
        self._known = ((path, found), content) if settled else None
        return content


def read_state(name: str, read: Callable[[Path], dict[str, Any]] = read_json) -> dict[str, Any]:
    """Read one of the hub's own files. Empty if it is missing."""
    path = STATE / name
    return read(path) if path.exists() else {}


def write_state(name: str, content: dict[str, Any]) -> None:
    temporary = STATE / f".{name}.new"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        json.dump(content, stream, indent=1, sort_keys=True)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(STATE / name)
