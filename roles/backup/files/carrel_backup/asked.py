# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks requests of a hub's page: nothing in them may lead out of the user's home. No I/O."""

from __future__ import annotations

import dataclasses
import datetime
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from .backup import tag
from .escape import escape, username_problem
from .restic import WHOLE
from .snapshots import ours, parsed
from .state import State

LONGEST = 64 * 2**10  # bytes of a request
LONGEST_NAME = 255
PAGE = 200  # entries of a folder in one answer
MOST_AN_HOUR = 20
HOUR = 3600
WHATS = ("snapshots", "folder", "bring")
SNAPSHOT = re.compile(r"[0-9a-f]{64}")
NO_SNAPSHOT = "There is no such backup of your home."


class RefusedError(Exception):
    """The request is refused; the text is for the user."""


@dataclasses.dataclass(frozen=True)
class Asked:
    what: str
    user: str
    snapshot: str
    parts: tuple[str, ...]  # of the path below the home; empty: the home itself
    page: int

    @property
    def leaf(self) -> str:
        """The home's path, relative to the instance's directory."""
        return f"data/users/{escape(self.user)}/home"

    @property
    def inside(self) -> list[str]:
        """Its path in a snapshot."""
        return ["instance", *self.leaf.split("/"), *self.parts]


def read(text: str) -> Asked:
    """Read a request. Raises RefusedError."""
    try:
        content = json.loads(text)
        what, user, snapshot = content["what"], content["user"], content.get("snapshot", "")
        parts, page = content.get("parts", []), content.get("page", 0)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise RefusedError("The request is damaged.") from error
    if what not in WHATS or not isinstance(user, str) or len(user) > LONGEST_NAME or username_problem(user):
        raise RefusedError("The request is damaged.")
    if isinstance(page, bool) or not isinstance(page, int) or not 0 <= page < 10**6:
        raise RefusedError("There is no such page.")
    if what != "snapshots" and not (isinstance(snapshot, str) and SNAPSHOT.fullmatch(snapshot)):
        raise RefusedError(NO_SNAPSHOT)
    if not isinstance(parts, list) or not all(isinstance(part, str) and is_name(part) for part in parts):
        raise RefusedError("There is no such file or folder.")
    return Asked(what, user, snapshot, tuple(parts), page)


def is_name(part: str) -> bool:
    """Whether it is the name of a single file, and leads nowhere else."""
    try:
        length = len(part.encode("utf-8", "surrogateescape"))
    except UnicodeEncodeError:
        return False
    return 0 < length <= LONGEST_NAME and part not in (".", "..") and not {"/", "\0"} & set(part)


def of_user(
    snapshots: Sequence[Mapping[str, Any]], asked: Asked, host: str, state: State, since: float = 0
) -> list[Mapping[str, Any]]:
    """The snapshots with the user's home, newest first.

    There are none before the instance's first backup or restore: they may be of a removed instance, whose users with
    the same names are other people. Nor are there any from before SINCE.
    """
    if state.begun is None:
        return []
    tags = (WHOLE, tag(asked.user, None))
    home = f"/instance/{asked.leaf}"
    fitting = [
        each
        for each in snapshots
        if each["of"] in tags
        and any(path.endswith(home) for path in each["paths"])
        and parsed(each["time"]).timestamp() > since
    ]
    # never both: another host may have a different instance of the same name in the repository
    return ours(fitting, state, host, *state.past)[::-1]


def recent(times: Sequence[object], now: float) -> list[float]:
    """The times of the user's restores within the last hour. Raises RefusedError if there are too many."""
    found = [time for time in times if isinstance(time, (int, float)) and now - HOUR < time <= now]
    if len(found) >= MOST_AN_HOUR:
        minutes = int((min(found) + HOUR - now) // 60) + 1
        raise RefusedError(f"You have asked for files {len(found)} times within an hour. Wait {minutes} minutes.")
    return found


def when(time: str) -> str:
    """A time as restic writes it, in UTC, to the second."""
    return parsed(time).astimezone(datetime.timezone.utc).isoformat(timespec="seconds")
