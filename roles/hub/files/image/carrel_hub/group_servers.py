# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers of groups, in which members work together. Each belongs to a user who is no person."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from jupyterhub import orm


class GroupServer(NamedTuple):
    group: str
    user: str
    runs: bool


@dataclass(frozen=True)
class GroupServers:
    """Return the servers of a person's groups, for the hub's templates."""

    users: Mapping[str, str]  # by group

    def __call__(self, person: Any) -> list[GroupServer]:
        return list(self._of(person)) if person else []

    def _of(self, person: Any) -> Iterator[GroupServer]:
        for group in sorted(group.name for group in person.groups):
            user = self.users.get(group)
            found = orm.User.find(person.db, user) if user and user != person.name else None
            if found:
                yield GroupServer(group, found.name, any(spawner.server for spawner in found.orm_spawners.values()))
