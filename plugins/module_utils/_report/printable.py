# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Clean text from hosts, containers and accounts before it reaches a terminal."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

COLOUR = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")  # and any other sequence of this form, as ECMA-48 defines it
LONGEST = 20_000  # characters of one text
MOST = 20  # texts of one list


def line(value: object) -> str:
    """Return one line without control characters and escape sequences."""
    return _clean(" ".join(str(value)[:LONGEST].split()), "")


def text(value: str) -> str:
    """Do the same, but keep line breaks."""
    return _clean(value, "\n\t")


def clean(value: Any) -> Any:
    """Clean all texts in lists and dicts, and cut them at LONGEST."""
    if isinstance(value, str):
        return text(value[:LONGEST])
    if isinstance(value, dict):
        return {clean(key): clean(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [clean(item) for item in value]
    return value


def bounded(texts: Sequence[str]) -> list[str]:
    """Limit the number and the length of texts, because an engine may answer anything."""
    shown = [text(item[:LONGEST]) for item in texts[:MOST]]
    return [*shown, f"and {len(texts) - MOST} more"] if len(texts) > MOST else shown


def _clean(value: str, allowed: str) -> str:
    return "".join(char if char.isprintable() or char in allowed else "?" for char in COLOUR.sub("", value))
