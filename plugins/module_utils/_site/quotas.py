# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is to be done about the project quota of a directory, and how much it is.

User quotas can't limit people, who all have the ids of one engine. A project is a number that a directory hands on to
all that is made in it, and that nobody in a user namespace can change.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

# Projects of this collection; those with other numbers are the administrator's. 0 is never limited.
FIRST, COUNT = 0x43000000, 1 << 24
BLOCK = 1024  # bytes, in which the kernel takes limits (quotactl(2))


class ForeignProjectError(Exception):
    """A directory cannot have its limit, because of its project or its files; the text says what to do."""


class Step(enum.Enum):
    NOTHING = "nothing"
    LIMIT = "limit"  # the project is complete, its limit is another
    MARK = "mark"  # and all that is below, before there is a limit
    LIFT = "lift"
    UNENFORCED = "unenforced"


@dataclass(frozen=True)
class Found:
    enforced: bool  # whether the file system holds limits of projects
    project: int = 0
    inherited: bool = False  # the project is that of the directory above
    hands_on: bool = False  # to what is made in it
    limit: int = 0  # bytes; only set once all that is below is in the project
    used: int = 0

    @property
    def ours(self) -> bool:
        return FIRST <= self.project < FIRST + COUNT and not self.inherited

    @property
    def own_limit(self) -> int:
        return self.limit if self.ours else 0


def rounded(limit: int | None) -> int:
    return math.ceil((limit or 0) / BLOCK) * BLOCK


def decide(path: str, found: Sequence[Found], wanted: int | None) -> Step:
    """FOUND: of directories that have one limit together, in the project of the first, which PATH is.

    WANTED: bytes. None lifts a limit that is there, and leaves the project, which counts on.
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
        return Step.NOTHING if lead.limit == limit else Step.LIMIT
    return Step.MARK


def unenforced(paths: Collection[str]) -> list[str]:
    """A warning about directories whose limits do not hold."""
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


def text(limit: int) -> str:
    return f"at most {limit} bytes" if limit else "no limit"
