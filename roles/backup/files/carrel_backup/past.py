# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the backups in the repository are this host's own: before a backup adds to them, or forgets some."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

from .restic import NO_REPOSITORY, WHOLE, ResticError, host_of
from .run import BackupError, Run
from .snapshots import described, is_ahead, later, parsed, utc
from .state import State

MOST_NAMED = 20


def check_past(run: Run, anew: bool) -> None:
    """Refuse to go on if the repository has the backups of another host; note when this host began its own."""
    if not anew:
        try:
            snapshots = run.restic.snapshots()
        except ResticError as error:
            if error.code != NO_REPOSITORY:
                raise
            snapshots = []
        know_past(run.state, [described(each) for each in snapshots])
        refused = another_past(snapshots, run.settings.host, run.state.begun, utc(), run.state.known or ())
        refused = refused or another_repository(snapshots, run.settings.host, run.state)
        ahead = [each["id"][:8] for each in snapshots if is_ahead(each["time"], utc())]
        if ahead:
            run.journal.warning(
                "begin",
                f"snapshots of the future, by the clock of this host: {', '.join(ahead[:MOST_NAMED])}. They are not"
                " taken for the latest ones",
            )
        if refused:
            name = run.settings.name
            raise BackupError(
                f"{refused}. Restore it (carrel-backup restore {name}), give one host another repository, or begin a"
                f" new series beside it (carrel-backup run {name} --anew)"
            )
    if anew:
        run.state.begin_anew()
    else:
        run.state.begin_past()


def know_past(state: State, snapshots: Sequence[Mapping[str, Any]]) -> None:
    """After a restore or a move, note the snapshots that are later than it only by the other host's clock.

    A move leaves that to the first backup, because it does not read the repository.
    """
    if state.begun is not None and state.known is None:
        state.know(later(snapshots, parsed(state.begun), state.past))


def another_past(
    snapshots: Sequence[Mapping[str, Any]],
    host: str,
    begun: str | None,
    now: datetime.datetime,
    known: Sequence[str] = (),
) -> str | None:
    """Why a host whose backups have BEGUN then, with KNOWN snapshots, must not add to these; None if it may.

    A host that was lost and set up again is empty: its first backup would be the `latest` that a restore uses. And if
    two hosts with instances of the same name share a repository, their backups get mixed up.
    """
    whole = [each for each in snapshots if WHOLE in (each.get("tags") or [])]
    if begun is not None:
        whole = [each for each in whole if not is_ahead(each["time"], now) and each["id"] not in known]
    if not whole:
        return None
    newest = str(whole[-1]["time"])
    whose = host_of(whole[-1].get("tags") or [])
    if begun is None:
        return (
            f"the repository has backups of it, the last of {newest[:19]} by the host {whose or '?'}, and this host has"
            " not been restored yet"
        )
    if whose != host and datetime.datetime.fromisoformat(newest) > datetime.datetime.fromisoformat(begun):
        return f"the last backup in its repository, of {newest[:19]}, is another host's: {whose or '?'}, not {host}"
    return None


def another_repository(snapshots: Sequence[Mapping[str, Any]], host: str, state: State) -> str | None:
    """Why this cannot be the repository with this host's last backup; None if it can be.

    After a loss, a run whose disk is not mounted yet begins a new repository below the mount point. Once the disk is
    there, the next backup of what may be an empty instance would become the latest one of the old repository.
    """
    taken, begun = state.last("backup").get("taken") or {}, state.begun
    if begun is None or not snapshots:
        return None
    start = parsed(begun)
    mine = [each for each in snapshots if host_of(each.get("tags") or []) == host]
    if any(parsed(each["time"]) >= start for each in mine):
        return None  # it has made others here, and perhaps somebody removed the last one
    if taken and parsed(taken["ended"]) >= start:
        if any(each["id"] == taken["snapshot"] for each in snapshots):
            return None
        lacks = f"not this host's last one, {taken['snapshot'][:8]}, nor others since {begun[:19]}"
    elif state.past or state.series:  # a restore, a move or --anew began
        return None
    else:
        # The run that began found none, and failed before it had made one.
        whole = [each for each in snapshots if WHOLE in (each.get("tags") or []) and parsed(each["time"]) < start]
        if not whole:
            return None
        lacks = f"from {whole[-1]['time'][:19]}, and when this host began, at {begun[:19]}, there were none"
    return (
        f"the repository has backups of it, but {lacks}: that was another repository, perhaps below a disk that was"
        " mounted only afterwards"
    )
