# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The manifest of a snapshot. The engine's account can write it, so nothing in it may lead out of the instance."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from . import images, targets
from .database import POSTGRESQL, SQLITE, TYPES
from .run import BackupError


@dataclasses.dataclass(frozen=True)
class Manifest:
    """The parts that restores and drills use."""

    leaves: list[str]
    database: str | None
    samples: list[dict[str, Any]]
    server: images.Server | None = None  # None: the snapshot does not say
    database_type: str | None = None  # also without a dump


def read(text: str, kind: str) -> Manifest:
    """Root joins these to paths, so they must be plain; only a hub has a database. Raises BackupError."""
    try:
        content = json.loads(text)
        leaves, database, samples = content["leaves"], content["database"], content["samples"]
    except (ValueError, KeyError, TypeError) as error:
        raise BackupError(f"the snapshot's manifest is damaged: {error}") from error
    if not isinstance(leaves, list) or not all(isinstance(leaf, str) and is_plain(leaf) for leaf in leaves):
        raise BackupError("the snapshot's manifest has paths that lead elsewhere: somebody changed it")
    if database is not None and (kind != "hub" or database not in (SQLITE, POSTGRESQL)):
        raise BackupError("the snapshot's manifest names a database that no backup makes: somebody changed it")
    if not isinstance(samples, list) or not all(
        isinstance(each, dict) and isinstance(each.get("path"), str) for each in samples
    ):
        raise BackupError("the snapshot's manifest has invalid samples: somebody changed it")
    leaves = [leaf for leaf in leaves if not f"{leaf}/".startswith(f"{targets.TRASH}/")]
    return Manifest(leaves, database, samples, images.read(content.get("server")), type_of(database, content))


def type_of(dumped: str | None, content: Any) -> str | None:
    """The type of the hub's database; without a dump, what the record of the instance says."""
    if dumped is not None:
        return TYPES[dumped]
    record = content.get("instance")
    found = record.get("database") if isinstance(record, dict) else None
    return found if found in TYPES.values() else None


def is_plain(path: str) -> bool:
    """Whether it is relative, without empty parts, . and .., and not in one of root's directories."""
    in_roots = any(f"{path}/".startswith(f"{root}/") for root in targets.ROOTS)
    return "\0" not in path and not {"", ".", ".."} & set(path.split("/")) and not in_roots
