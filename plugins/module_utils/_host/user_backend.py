# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps for a hub's users, in order, for each kind of storage (backend)."""

from __future__ import annotations

import abc
import contextlib
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._host import files
from ansible_collections.carrel.jupyter.plugins.module_utils._host.directories import ForeignOwnerError, Wanted
from ansible_collections.carrel.jupyter.plugins.module_utils._people.user_volumes import (
    by_directory,
    control_time,
    stamp,
    wrong_clock,
)
from ansible_collections.carrel.jupyter.plugins.module_utils._site.quotas import ForeignProjectError


class Backend(abc.ABC):
    """Users' files in one kind of storage. `directory` is a user's escaped name."""

    # These errors affect only one user. The run goes on with the others.
    reported: tuple[type[Exception], ...] = (files.UnsafePathError, ForeignOwnerError, ForeignProjectError)

    def __init__(
        self, parameters: Mapping[str, Any], check_mode: bool, where: str, stem: str, uid: int, gid: int
    ) -> None:
        self.parameters = parameters
        self.check_mode = check_mode
        self.where = where
        self.control_time = control_time(parameters)
        self.stem = stem  # followed by a user's escaped name: the place of the user's files
        self.leaves = [(leaf["name"], Wanted(uid, gid, int(leaf["mode"], 8))) for leaf in parameters["directories"]]
        self.before: list[str] = []
        self.after: list[str] = []
        self.problems: list[str] = []
        self.archived: dict[str, str] = {}
        self.deleted: list[str] = []
        self.not_listed: list[str] = []
        self.warnings: list[str] = []

    @abc.abstractmethod
    def open(self) -> None:
        """Read the present state, and correct parts that belong to no user."""

    @abc.abstractmethod
    def there(self) -> Iterable[str]:
        """Return the users who have files."""

    @abc.abstractmethod
    def owner(self, directory: str) -> str | None:
        """Return the user's name. None if it belongs to nobody."""

    @abc.abstractmethod
    def make(self, directory: str, user: str) -> None: ...

    @abc.abstractmethod
    def archive(self, directory: str, user: str) -> None: ...

    @abc.abstractmethod
    def delete(self, directory: str, user: str) -> None: ...

    @abc.abstractmethod
    def expire(self, before: float, keep: Mapping[str, str]) -> None:
        """Delete archives from before this time, except those of listed users, who are in KEEP by directory."""

    @contextlib.contextmanager
    def reporting(self) -> Iterator[None]:
        """Report a problem that affects only one user, and continue."""
        try:
            yield
        except self.reported as error:
            self.problems.append(str(error))

    def note(self, name: str, before: str, after: str) -> None:
        if before != after:
            self.before += [f"{name} {before}"] if before else []
            self.after.append(f"{name} {after}")

    def run(self) -> None:
        users = self.parameters["users"]
        self.open()
        there = set(self.there())
        for state, act in (("absent", self.delete), ("archived", self.archive)):
            for directory, user in by_directory(users, state).items():
                if directory in there:
                    with self.reporting():
                        act(directory, user)
        self._prune(set(by_directory(users, "present", "held", "archived", "absent")))
        for directory, user in by_directory(users, "present").items():
            with self.reporting():
                self.make(directory, user)
        days = self.parameters.get("delete_after_days")
        if days is not None and self.parameters["prune"] == "archive":
            wrong = wrong_clock(time.time(), self.control_time)
            if wrong:
                self.warnings.append(f"{self.where}: {wrong}")
                return
            with self.reporting():
                self.expire(time.time() - days * 86400, by_directory(users, "present", "held"))

    def stamp(self) -> str:
        return stamp(time.time(), self.control_time)

    def _prune(self, listed: set[str]) -> None:
        for directory in sorted(set(self.there()) - listed):
            user = self.owner(directory)
            if user is None:
                self.warnings.append(f"{self.where}/{directory} is not a user's directory and is left as it is")
                continue
            self.not_listed.append(user)
            if self.parameters["prune"] == "archive":
                with self.reporting():
                    self.archive(directory, user)
