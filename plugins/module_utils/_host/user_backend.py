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
from ansible_collections.carrel.jupyter.plugins.module_utils._host.user_identities import Identities
from ansible_collections.carrel.jupyter.plugins.module_utils._people.user_volumes import (
    archived_at,
    by_directory,
    control_time,
    stamp,
    wrong_clock,
)
from ansible_collections.carrel.jupyter.plugins.module_utils._shared.escape import escape
from ansible_collections.carrel.jupyter.plugins.module_utils._shared.usernames import is_group, same_identity
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
        self.begun_anew: set[str] = set()  # users whose name was somebody else's until this run
        self.identities: Identities | None = None

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

    def has_archive(self, directory: str) -> bool:
        """Whether `make` would bring an archive back."""
        return False

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
        hub = self.parameters.get("hub_directory")
        if hub:
            self.identities = Identities(
                hub, {user["name"]: user["identity"] for user in users if user.get("identity") is not None}
            )
        self.open()
        there = set(self.there())
        for state, act in (("absent", self.delete), ("archived", self.archive)):
            for directory, user in by_directory(users, state).items():
                if directory in there:
                    with self.reporting():
                        act(directory, user)
        self._hand_over(there)
        self._prune(set(by_directory(users, "present", "held", "archived", "absent")))
        refused = self.identities.others() if self.identities else set()
        for directory, user in by_directory(users, "present").items():
            if user not in refused:
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

    def since(self, user: str) -> int:
        """Until when archives with this name are of somebody else."""
        owner = self.identities.owners.get(user) if self.identities else None
        return owner.since if owner else 0

    def expired(self, moment: float, before: float, listed: str | None) -> bool:
        """Whether an archive of that moment is deleted.

        Of a listed user, only what is of somebody else, and not before that has been known for as long: the user may
        be the same person, whose administrator moves the archive back.
        """
        return moment < before if listed is None else moment <= self.since(listed) < before

    def _now(self) -> int:
        """Until now, with the archives of this run, whose names have the time to the second."""
        return int(archived_at(self.stamp()))

    def _hand_over(self, there: set[str]) -> None:
        """Archive what is of somebody else whose name was simplified to the same one."""
        if self.identities is None:
            return
        new = self.identities.new()
        # Guests of the native authenticator, and people who left before there was a record, are in no record.
        for name in [each for each in new if is_group(self.identities.wanted[each]) and escape(each) in there]:
            self.identities.unknown(name)
            new.remove(name)
        before = dict(self.identities.owners)
        for name in sorted(self.identities.others()):
            with self.reporting():
                if escape(name) in there:
                    self.archive(escape(name), name)
                self.identities.give(name, self._now())
                self.begun_anew.add(name)
                old, now = before[name].identity or "somebody unknown", self.identities.wanted[name]
                self.warnings.append(
                    f"{self.where}: {name} was {old} and is {now} now, so the files of {old} go to the archive:"
                    " if both are one person, docs/howto/leaving.md says how to give them back"
                )
        for name in sorted(new):
            unsure = not same_identity(name, self.identities.wanted[name]) and self.has_archive(escape(name))
            self.identities.give(name, self._now() if unsure else 0)
            if unsure:
                self.warnings.append(
                    f"{self.where}: the archive of {name} stays there, because it may be of somebody else: if it is of"
                    f" {self.identities.wanted[name]}, docs/howto/leaving.md says how to give it back"
                )
        for name, owner in sorted(self.identities.owners.items()):
            recorded = self.identities.recorded.get(name)
            self.note(f"identity of {name}:", recorded.identity if recorded else "", owner.identity)
        if not self.check_mode:
            self.identities.write()

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
