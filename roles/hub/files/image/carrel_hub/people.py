# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The roster: who may use the hub. The role may replace this file at any time, so each check looks at it again."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from .files import DIRECTORY, Cached, Unusable, read_json


@dataclass(frozen=True)
class Roster:
    users: Mapping[str, Mapping[str, Any]]
    blocked: frozenset[str]
    groups: Mapping[str, Collection[str]] = field(default_factory=dict)
    provider_groups: Mapping[str, Collection[str]] = field(default_factory=dict)  # names at the provider, by group here

    def lists(self, name: str) -> bool:
        return name in self.users and name not in self.blocked

    def admin(self, name: str) -> bool:
        return self.lists(name) and bool(self.users[name]["admin"])

    def is_person(self, name: str) -> bool:
        """Whether somebody may log in with a name. The user to whom a group's server belongs is nobody."""
        return not self.users.get(name, {}).get("server_of")

    def servers(self) -> dict[str, str]:
        """Return the users to whom servers of groups belong, by group."""
        return {user["server_of"]: name for name, user in self.users.items() if not self.is_person(name)}

    def limits(self, name: str, default: Mapping[str, Any]) -> dict[str, Any]:
        """Return a user's limits, or the hub's for guests. None for limits that an older roster does not have."""
        limits = self.users.get(name, default)
        return {key: limits.get(key) for key in default}


def parse(content: Mapping[str, Any]) -> Roster:
    users, blocked = content.get("users"), content.get("blocked")
    groups, provider_groups = content.get("groups", {}), content.get("provider_groups", {})
    if content.get("version") != 1 or not isinstance(users, dict) or not isinstance(blocked, list):
        raise Unusable("the roster is damaged, or is not of version 1")
    for each in (groups, provider_groups):
        if not isinstance(each, dict) or not all(isinstance(names, list) for names in each.values()):
            raise Unusable("the roster is damaged, or is not of version 1")
    wanted = {"identity", "admin"}
    for name, user in users.items():
        if not isinstance(user, dict) or not wanted <= user.keys():
            raise Unusable(f"the roster is damaged at the user {name!r}")
    return Roster(users, frozenset(blocked), groups, provider_groups)


_read = Cached(lambda path: parse(read_json(path)))


def read_roster() -> Roster:
    return _read(DIRECTORY / "roster.json")
