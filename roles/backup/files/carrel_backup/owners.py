# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose the names of a hub's users are: nobody gets the files of somebody else whose name was simplified alike.

The module user_volumes writes the record. It comes back with a whole hub and goes along with a move.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from dataclasses import replace

from . import files
from .commands import CommandError
from .containers import UntouchedError
from .database import POSTGRESQL
from .escape import username_problem
from .inside import LISTED_BEFORE
from .name_owners import Owner, parse
from .run import BackupError, Run
from .settings import Settings
from .usernames import is_plain, same_identity

RECORD = "hub/identities.json"
HUBS_OWN, POSTGRESQLS = "data/hub", "data/database"


def recorded(settings: Settings) -> dict[str, Owner]:
    """The record of this host."""
    path = f"{settings.directory}/{RECORD}"
    try:
        return parse(files.read(path))
    except FileNotFoundError:  # of a lab, or from before there was a record
        return {}
    except ValueError as error:
        raise BackupError(f"{path} is damaged: bring it back from a backup, or remove it") from error


def of_snapshot(text: str) -> dict[str, Owner]:
    """The record in a snapshot, into which the account may have put anything. Raises ValueError."""
    return {
        name: owner
        for name, owner in parse(text).items()
        if not username_problem(name) and is_plain(owner.identity) and owner.since <= time.time()
    }


def others(now: Mapping[str, Owner], then: Mapping[str, Owner], moment: float, begun: bool) -> set[str]:
    """The names whose files in a snapshot of that MOMENT are of somebody else.

    NOW is this host's record, THEN the snapshot's. Only a host that has BEGUN its backups knows who came later.
    """

    def is_other(name: str) -> bool:
        if moment <= now[name].since:
            return True
        if name not in then or same_identity(now[name].identity, then[name].identity):
            return False
        return then[name].since < now[name].since or (then[name].since == now[name].since and not begun)

    return set(filter(is_other, now))


def folders_for(directory: str, tree: str, there: Collection[str], dumped: str | None) -> list[str]:
    """The hub's own folders that its restored database may have; none if no database is restored.

    THERE are the restored directories in TREE, DUMPED is the database's dump. With a database of PostgreSQL come all
    users of then, and it is replaced before the hub's folder, which the snapshot may also lack.
    """
    now, then = f"{directory}/{HUBS_OWN}", f"{tree}/instance/{HUBS_OWN}"
    postgresql = dumped == POSTGRESQL or POSTGRESQLS in there
    if HUBS_OWN not in there:
        return [now] if postgresql else []
    return [then, now] if postgresql and os.path.isdir(now) else [then]


@contextlib.contextmanager
def disowned(run: Run, folders: Sequence[str], theirs: Set[str]) -> Iterator[None]:
    """Let a hub with the database of then delete users who are somebody else; not if nothing has been replaced."""
    for folder in folders:
        run.inside("disown", folder, given=sorted(theirs))
    try:
        yield
    except UntouchedError:
        try:
            for folder in folders:
                run.inside("own", folder)
        except CommandError as error:
            run.warn(f"the hub will delete and create {', '.join(sorted(theirs))}, which ends their servers: {error}")
        raise
    for folder in folders[:1]:  # the other one is moved aside
        with contextlib.suppress(CommandError):
            run.inside("remove", folder, given=[LISTED_BEFORE])


def merged(
    now: Mapping[str, Owner], then: Mapping[str, Owner], begun: bool, theirs: Set[str] = frozenset()
) -> dict[str, Owner]:
    """The record of a host that has the snapshot's files from now on, except THEIRS."""
    later = {
        name: owner for name, owner in then.items() if name not in now or (not begun and owner.since > now[name].since)
    }
    found = {**now, **later}
    if not begun:  # then all backups are of before
        found.update({name: replace(found[name], since=int(time.time())) for name in theirs})
    return found
