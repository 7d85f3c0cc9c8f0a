# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which users get directories, which lose them, and what is wrong with the list."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._escape import escape, username_problem

LEAF = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


def problems(parameters: Mapping[str, Any]) -> list[str]:
    """Everything that is wrong with the module's parameters."""
    users, leaves = parameters["users"], parameters["directories"]
    found = []
    if parameters["path"].rstrip("/").count("/") < 2:
        found.append(f"{parameters['path']} would become a directory of users alone: give one deeper down")
    if not users and not parameters["allow_empty"]:
        found.append("the list of users is empty: if that is meant, say allow_empty: true")
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
                f"the user {name!r} has state: absent, which deletes all files: say purge: true as well, "
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
            found.append(f'the directory {leaf["name"]!r} has the mode {leaf["mode"]!r}: write it as in "0700"')
    if not leaves:
        found.append("the list of directories is empty: leave it out for the default")
    return found


def by_directory(users: Iterable[Mapping[str, Any]], *states: str) -> dict[str, str]:
    """Directory and name of the users with one of these states."""
    return {escape(user["name"]): user["name"] for user in users if user["state"] in states}
