# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Remember on the host whose the names of a hub's users are, so that nobody gets the files of somebody else."""

from __future__ import annotations

import os
from collections.abc import Mapping

from ansible_collections.carrel.jupyter.plugins.module_utils._changes.file import File
from ansible_collections.carrel.jupyter.plugins.module_utils._host import files
from ansible_collections.carrel.jupyter.plugins.module_utils._people import name_owners, user_identities
from ansible_collections.carrel.jupyter.plugins.module_utils._people.name_owners import Owner
from ansible_collections.carrel.jupyter.plugins.module_utils._shared.usernames import is_group

LONGEST = 8 * 2**20  # bytes of a file of the hub's own


class Identities:
    """The record of the hub in DIRECTORY. WANTED has the identities in the inventory, by name."""

    def __init__(self, directory: str, wanted: Mapping[str, str]) -> None:
        self.folder = f"{directory}/hub"
        self.path = f"{self.folder}/identities.json"
        self.wanted = wanted
        self.present = files.read(self.path)
        try:
            recorded = name_owners.parse(self.present.content.decode()) if self.present else None
        except ValueError as error:
            raise files.UnsafePathError(f"{self.path} {error}") from error
        listed = f"{self.folder}/roster.json"
        # Version 0.1.0 wrote no record. A run writes one of the two before it makes the first user's files.
        self.begun = self.present is not None or os.path.lexists(listed)
        roster = {name: Owner(each) for name, each in _read(listed, "users").items()}
        # The roster of a hub from before there was a record says it as well.
        self.recorded = roster if recorded is None else recorded
        # Guests, and people of a hub whose data was moved or restored.
        own = {
            **_read(f"{directory}/data/hub/identities.json", None),
            **_read(f"{directory}/data/hub/roster-listed.json", "identities"),
        }
        found = {name: Owner(own[name]) for name in own.keys() & wanted.keys()}
        self.owners = {**found, **roster, **self.recorded}

    def others(self) -> set[str]:
        return user_identities.others(self.owners, self.wanted)

    def new(self) -> set[str]:
        """Return names that the record does not have. Archives with them may be of people whom nobody remembers."""
        return self.wanted.keys() - self.recorded.keys() - self.others()

    def waiting(self) -> set[str]:
        """Return names that nobody gets before user_volumes has made sure that the files are theirs.

        Besides those of somebody else, new servers of groups: a guest whom nothing remembers may have had the name.
        """
        return self.others() | {name for name in self.new() if is_group(self.wanted[name])}

    def unknown(self, name: str) -> None:
        """Note that a name is of somebody of whom nothing else is known, so of nobody in the inventory."""
        self.owners[name] = Owner("")

    def give(self, name: str, since: int) -> None:
        self.owners[name] = Owner(self.wanted[name], since)

    def lasting(self) -> dict[str, Owner]:
        """Return the record with what a new roster.json would make the host forget."""
        kept = self.recorded.keys() | (self.owners.keys() - self.wanted.keys()) | self.others()
        return {name: owner for name, owner in self.owners.items() if name in kept}

    def file(self, owners: Mapping[str, Owner]) -> File:
        """Return the record's file, for the group that can read the folder."""
        group = 0
        try:
            descriptor = files.open_directory(self.folder)
            group = os.fstat(descriptor).st_gid
            os.close(descriptor)
        except FileNotFoundError:
            pass
        return File(name_owners.text(owners).encode(), 0o640, 0, group)

    def write(self) -> None:
        wanted = self.file(self.owners)
        if wanted != self.present:
            files.write(self.path, wanted)


def _read(path: str, key: str | None) -> dict[str, str]:
    """Read a file that the hub's account may be able to write, so it may be anything."""
    try:
        found = files.read(path, LONGEST)
    except (files.UnsafePathError, OSError):
        return {}
    return user_identities.identities(found.content.decode("utf-8", "replace") if found else None, key)
