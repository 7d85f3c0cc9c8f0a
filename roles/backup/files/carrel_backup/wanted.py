# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a restore wants, and its paths in a snapshot."""

from __future__ import annotations

import dataclasses
import os

from .backup import tag
from .escape import escape
from .restic import WHOLE
from .run import BackupError


@dataclasses.dataclass(frozen=True)
class Wanted:
    user: str | None = None
    group: str | None = None
    path: str | None = None
    overwrite: bool = False
    stop: bool = False
    image: bool = False
    beside: bool = False
    accept_damaged: bool = False  # and put the rest in place
    accept_size: bool = False  # of files that are sparse


def tags(wanted: Wanted) -> list[str]:
    """The tags of snapshots that may have it."""
    whole = wanted.user is None and wanted.group is None
    return [WHOLE] if whole else [WHOLE, tag(wanted.user, wanted.group)]


def path_of(wanted: Wanted) -> str:
    """The path of the file or folder in the instance."""
    path = os.path.normpath(f"/{wanted.path or ''}").strip("/")
    if wanted.user is not None:
        path = f"data/users/{escape(wanted.user)}/home/{path}"
    elif wanted.group is not None:
        path = f"data/groups/{wanted.group}/{path}"
    if ".." in path.split("/"):
        raise BackupError(f"{path} leads elsewhere")
    return path.rstrip("/")
