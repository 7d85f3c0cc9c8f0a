# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Paths in the hub's container, and functions that read and write files."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

DIRECTORY = Path(os.environ.get("CARREL_HUB_DIRECTORY", "/etc/carrel/hub"))  # the role's files, read-only
STATE = Path(os.environ.get("CARREL_HUB_STATE", "/srv/jupyterhub"))  # the hub's own files


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


def read_state(name: str) -> dict[str, Any]:
    """Read one of the hub's own files. Empty if it is missing."""
    path = STATE / name
    return read_json(path) if path.exists() else {}


def write_state(name: str, content: dict[str, Any]) -> None:
    temporary = STATE / f".{name}.new"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        json.dump(content, stream, indent=1, sort_keys=True)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(STATE / name)
