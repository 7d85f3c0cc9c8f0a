# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The folders of a snapshot, one at a time. Names stay as they are: bytes, which need not be text."""

from __future__ import annotations

import datetime
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .asked import RefusedError
from .restic import Restic, ResticError
from .snapshots import parsed

# The escapes of Go's strconv.Quote, which restic uses to store names.
ESCAPE = re.compile(r"\\(?:x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8})|(.))", re.DOTALL)
SHORT = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
KINDS = ("dir", "file", "symlink")
MISSING = re.compile(r"path .*: (?:not found|not a directory)", re.DOTALL)

LONGEST = 16 * 2**20  # bytes of a folder's list: some 40,000 files
TOO_MANY = "This folder has too many files to be shown. Bring back the whole folder."


class MissingError(Exception):
    """The snapshot has no such folder."""


def unquoted(stored: str) -> str:
    """A name as os.fsdecode would return it.

    >>> unquoted(r"a\\n\\xff\\u00a0") == "a\\n\\udcff\\xa0"
    True
    """
    parts = []
    end = 0
    for found in ESCAPE.finditer(stored):
        byte, short, long, other = found.groups()
        parts.append(os.fsencode(stored[end : found.start()]))
        if byte:
            parts.append(bytes([int(byte, 16)]))
        elif short or long:
            parts.append(chr(int(short or long, 16)).encode("utf-8", "surrogatepass"))
        else:
            parts.append(SHORT.get(other, other).encode())
        end = found.end()
    parts.append(os.fsencode(stored[end:]))
    return os.fsdecode(b"".join(parts))


def entries(text: str) -> Iterator[dict[str, Any]]:
    """The entries in the tree that restic prints; folders first, sorted by name."""
    for node in sorted(json.loads(text)["nodes"] or [], key=_order):
        yield {
            "name": unquoted(node["name"]),
            "type": node["type"] if node["type"] in KINDS else "other",
            "size": int(node.get("size") or 0),
            "modified": moment(str(node["mtime"])),
        }


def moment(text: str) -> str:
    """A file's time in UTC, to the second; unchanged if it is not a valid date."""
    try:
        return parsed(text).astimezone(datetime.timezone.utc).isoformat()[:19]
    except (ValueError, OverflowError):
        return text[:19]


def _order(node: Mapping[str, Any]) -> tuple[bool, str, str]:
    return node["type"] != "dir", node["name"].casefold(), node["name"]


def folder(restic: Restic, snapshot: str, parts: Sequence[str]) -> list[dict[str, Any]]:
    """The entries of this folder of the snapshot. No part leads up; links are not followed: they are not folders."""
    try:
        return list(entries(restic.read("cat", "tree", f"{snapshot}:/{'/'.join(parts)}", longest=LONGEST)))
    except ResticError as error:
        if f"printed more than {LONGEST} bytes" in str(error):
            raise RefusedError(TOO_MANY) from error
        if MISSING.search(str(error)):
            raise MissingError(f"the snapshot {snapshot[:8]} has no folder {'/'.join(parts[1:])}") from error
        raise
