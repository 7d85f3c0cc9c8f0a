# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file with what images have answered to probes. It can be lost: images then answer again."""

from __future__ import annotations

import json
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._host import files

# A file for each engine, so that what one account's images answer neither displaces nor delays the others'.
OF_ENGINE = "/var/lib/carrel/{}/image.json"
IMAGES = 1024


def load(path: str) -> dict[str, Any]:
    """Read the file. If it is too long, it counts as damaged, and the next answer replaces it."""
    try:
        file = files.read(path)
    except files.UnsafePathError:  # if nothing may replace it, files.write says so
        return {}
    return read(file.content if file else None)


def read(content: bytes | None) -> dict[str, Any]:
    """Return the answers by their keys. There are none if the file is missing or damaged."""
    try:
        cached = json.loads(content or b"{}")
    except (ValueError, RecursionError):
        return {}
    return cached if isinstance(cached, dict) else {}


def extend(cached: dict[str, Any], key: str, entry: dict[str, Any]) -> bytes:
    """Return the file with this answer as the last one. The oldest ones are dropped, or it could not be read again."""
    entries = [*((name, old) for name, old in cached.items() if name != key), (key, entry)][-IMAGES:]
    while len(content := json.dumps(dict(entries), indent=1).encode()) > files.LONGEST:
        entries = entries[1:]
    return content
