# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which users get directories, which lose them, and what is wrong with the list."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._plan.names import is_name
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.shorten import some
from ansible_collections.carrel.jupyter.plugins.module_utils._shared.escape import escape, username_problem

# A volume is a directory, whose name has at most 255 bytes; an archived one's has the time at its end.
ROOM = 255 - len(".archived-20261122T230102Z")
STAMP = "%Y%m%dT%H%M%SZ"
# No escaped name has a capital letter.
ARCHIVE = re.compile(r"(.+)-(\d{8}T\d{6}Z)(?:-\d+)?")
CONTROL_TIME = "%Y-%m-%dT%H:%M:%SZ"
DAY = 86400
SHOWN = 10  # names in a message
LEAF = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


def problems(parameters: Mapping[str, Any]) -> list[str]:
    """Everything that is wrong with the module's parameters."""
    users, leaves = parameters["users"], parameters["directories"]
    found = _volume_problems(parameters) if parameters["backend"] == "volumes" else _path_problems(parameters["path"])
    if not users and not parameters["allow_empty"]:
        found.append("the list of users is empty: if that is intended, set allow_empty: true")
    seen: set[str] = set()
    for user in users:
        name = user["name"]
        problem = username_problem(name)
        if problem:
            found.append(problem)
        elif name in seen:
            found.append(f"the user {name!r} is in the list twice")
        elif user["state"] == "absent" and not parameters["purge"]:
            found.append(
                f"the user {name!r} has state: absent, which deletes all files: set purge: true as well, "
                "or state: archived to keep them"
            )
        seen.add(name)
    names = [leaf["name"] for leaf in leaves]
    for name in dict.fromkeys(names):
        if not LEAF.fullmatch(name):
            found.append(f"the directory {name!r} must be a plain name, such as home: a-z, 0-9, dot, _ and -")
        if names.count(name) > 1:
            found.append(f"the directory {name!r} is in the list twice")
    for leaf in leaves:
        if not re.fullmatch(r"[0-7]{3,4}", leaf["mode"]):
            found.append(
                f'the directory {leaf["name"]!r} has the mode {leaf["mode"]!r}: write it in quotes, such as "0700"'
            )
    if not leaves:
        found.append("the list of directories is empty: leave it out for the default")
    try:
        control_time(parameters)
    except ValueError:
        found.append(f"control_time is {parameters['control_time']!r}: write it in UTC, such as 2030-01-31T02:30:00Z")
    return found


def control_time(parameters: Mapping[str, Any]) -> float | None:
    """The seconds of the control node's time. Raises ValueError."""
    text = parameters.get("control_time")
    return None if text is None else datetime.strptime(text, CONTROL_TIME).replace(tzinfo=timezone.utc).timestamp()


def wrong_clock(host: float, control: float | None) -> str | None:
    """Why nothing is deleted because of its age, if one of the two clocks must be wrong."""
    if control is None or abs(host - control) <= DAY:
        return None
    said = [datetime.fromtimestamp(each, timezone.utc).strftime("%Y-%m-%d %H:%M") for each in (host, control)]
    return (
        f"the clock of this host says {said[0]} UTC and that of the control node {said[1]}, so delete_after_days"
        " deletes nothing: set the wrong one and run again"
    )


def stamp(host: float, control: float | None) -> str:
    """The time in an archive's name: of two clocks the later one, so that nothing is deleted too early."""
    return datetime.fromtimestamp(max(host, control or host), timezone.utc).strftime(STAMP)


def _path_problems(path: str) -> list[str]:
    return (
        [f"{path} would be used for users' directories alone: give a directory below it"]
        if path.rstrip("/").count("/") < 2
        else []
    )


def _volume_problems(parameters: Mapping[str, Any]) -> list[str]:
    prefix = parameters["prefix"]
    if not is_name(prefix):
        return [f"the prefix {prefix!r} must be a plain name, such as class101: at most 31 of a-z, 0-9 and -"]
    longest = max((len(leaf["name"]) for leaf in parameters["directories"]), default=0) + len(f"{prefix}__")
    return [
        f"the user {user['name'][:57]!r} has too long a name: a volume's would have {length} characters, {ROOM} fit"
        for user in parameters["users"]
        for length in [longest + len(escape(user["name"]))]
        if length > ROOM and not username_problem(user["name"])
    ]


def earlier(hub: str, directory: str, volumes: Sequence[str]) -> str:
    """Why a new hub gets none of these VOLUMES, and what to do."""
    shown = some(volumes, SHOWN)
    return (
        f"the engine has volumes of an earlier hub {hub}, and nothing in {directory} says whose they are: {shown}. They"
        " are left as they are. If it is the same hub, put its directory from the archive in the place of"
        f" {directory}. Otherwise delete them with docker volume rm; docs/howto/remove.md shows both"
    )


def archived_at(stamp: str) -> float:
    """The seconds of a time in an archive's name."""
    return datetime.strptime(stamp, STAMP).replace(tzinfo=timezone.utc).timestamp()


def archives(names: Iterable[str]) -> dict[str, tuple[str, float]]:
    """Directories of users and when they were archived, by the archives' names; others are nobody's."""
    found = {}
    for name in names:
        match = ARCHIVE.fullmatch(name)
        if match:
            with contextlib.suppress(ValueError):
                found[name] = match[1], archived_at(match[2])
    return found


def newest(found: Mapping[str, float], since: float = 0) -> str | None:
    """The last of one user's archives, of which FOUND has the times. Those until SINCE are of an earlier owner."""
    own = [name for name, moment in found.items() if moment > since]
    return max(own, key=lambda name: (found[name], len(name), name), default=None)


def by_directory(users: Iterable[Mapping[str, Any]], *states: str) -> dict[str, str]:
    """Directory and name of the users with one of these states."""
    return {escape(user["name"]): user["name"] for user in users if user["state"] in states}
