# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decide what to do about the project quota of a directory.

User quotas cannot limit people, because they all have ids of one engine. A project is a number that new files inherit
from their directory. Nobody in a user namespace can change it.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ansible_collections.carrel.jupyter.plugins.module_utils._shared.disk import most_files
from ansible_collections.carrel.jupyter.plugins.module_utils._shared.told import Told

# The collection's projects. Other numbers belong to the administrator, and 0 cannot be limited.
FIRST, COUNT = 0x43000000, 1 << 24
BLOCK = 1024  # bytes, the kernel's unit for limits (quotactl(2))


class ForeignProjectError(Told):
    """A directory cannot get its limit because of its project or its files. The text says what to do."""


class Step(enum.Enum):
    NOTHING = "nothing"
    LIMIT = "limit"  # only change the limit: everything is in the project
    MARK = "mark"  # put the directory and its content into a project, then set the limit
    LIFT = "lift"
    UNENFORCED = "unenforced"


@dataclass(frozen=True)
class Found:
    enforced: bool  # whether the file system enforces limits of projects
    project: int = 0
    inherited: bool = False  # the project is that of the directory above
    hands_on: bool = False  # new files in it inherit the project
    limit: int = 0  # bytes; only set after everything below is in the project
    used: int = 0
    most_files: int = 0
    files: int = 0

    @property
    def ours(self) -> bool:
        return FIRST <= self.project < FIRST + COUNT and not self.inherited

    @property
    def own_limit(self) -> int:
        return self.limit if self.ours else 0


def rounded(limit: int | None) -> int:
    return math.ceil((limit or 0) / BLOCK) * BLOCK


def decide(path: str, found: Sequence[Found], wanted: int | None) -> Step:
    """Decide for directories with one limit together.

    FOUND has one entry for each. The first one is PATH, and its project is for all. WANTED is in bytes. None removes a
    limit but keeps the project, so that the kernel goes on counting.
    """
    lead, limit = found[0], rounded(wanted)
    if not limit:
        return Step.LIFT if lead.enforced and lead.own_limit else Step.NOTHING
    if not lead.enforced:
        return Step.UNENFORCED
    for each in found:
        if each.project and not each.ours:
            raise ForeignProjectError(
                f"{path} is in the project {each.project} of another owner, so it gets no limit: take the directory "
                "out of that project (chattr -p 0), or leave out the limit on disk"
            )
    if lead.own_limit and all(each.project == lead.project and each.hands_on for each in found):
        return Step.NOTHING if (lead.limit, lead.most_files) == (limit, most_files(limit)) else Step.LIMIT
    return Step.MARK


def unenforced(paths: Collection[str]) -> list[str]:
    """Return a warning about directories whose limits are not enforced."""
    if not paths:
        return []
    return [
        f"LIMITS ON DISK WILL NOT HOLD for {len(paths)} director{'y' if len(paths) == 1 else 'ies'} such as "
        f"{min(paths)}: the file system has no project quotas, or they are off. Only the warnings work; "
        "docs/howto/disk.md says how to switch quotas on"
    ]


def too_deep(paths: Collection[str], levels: int) -> list[str]:
    return [
        f"{path} has folders more than {levels} levels deep, and what is in them does not count into its limit"
        for path in sorted(set(paths))
    ]


def filled(paths: Collection[str]) -> list[str]:
    return [
        f"{path} HAS NO LIMIT ON DISK, as it has content from before the limit was declared; docs/howto/disk.md says "
        "what to do"
        for path in paths
    ]


def text(limit: int, files: int | None = None) -> str:
    """A limit in words, with that of FILES if it is not the one that belongs to the limit."""
    if not limit:
        return "no limit"
    usual = files in (None, most_files(limit))
    return f"at most {limit} bytes" if usual else f"at most {limit} bytes in {files or 'any number of'} files"
