# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The snapshots of an instance, and how one of them is chosen."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

from .restic import ON, SINCE, TAG, host_of, series_of
from .run import BackupError, Run
from .state import State


def listed(run: Run) -> list[dict[str, Any]]:
    """The snapshots of the instance in a form for people, oldest first."""
    return [described(each) for each in run.restic.snapshots()]


def described(snapshot: Mapping[str, Any]) -> dict[str, Any]:
    tags, summary = snapshot.get("tags") or [], snapshot.get("summary") or {}
    return {
        "id": snapshot["id"],
        "time": snapshot["time"],
        "of": next((tag for tag in tags if tag != TAG and not tag.startswith((ON, SINCE))), "?"),
        "on": host_of(tags),
        "series": series_of(tags),
        "files": summary.get("total_files_processed", 0),
        "bytes": summary.get("total_bytes_processed", 0),
        "added_bytes": summary.get("data_added_packed", 0),
        "files_new": summary.get("files_new", 0),
        "files_changed": summary.get("files_changed", 0),
    }


def ours(snapshots: Sequence[Mapping[str, Any]], state: State, *hosts: str) -> list[Mapping[str, Any]]:
    """The snapshots of these hosts; of all if they have none yet, after a move.

    Once an instance has begun its backups, those of another series, perhaps of a removed instance, do not count.
    """
    found = [each for each in snapshots if state.begun is None or each["series"] == state.series]
    return [each for each in found if each["on"] in hosts] or found


def pick(
    snapshots: Sequence[Mapping[str, Any]], wanted: str, tags: Sequence[str], host: str, state: State
) -> Mapping[str, Any]:
    """Choose a snapshot with one of these tags: by the beginning of its id, or the newest one up to a time.

    Without an id, another host's snapshot is chosen only if none of this host fits.
    """
    fitting = [each for each in snapshots if each["of"] in tags]
    by_id: list[Mapping[str, Any]] = []
    if wanted != "latest":
        by_id = [each for each in fitting if len(wanted) >= 6 and each["id"].startswith(wanted)]
        fitting = by_id or [each for each in fitting if (moment := end_of(wanted)) and parsed(each["time"]) <= moment]
    else:
        # A host whose clock is slow may have no others.
        fitting = [each for each in fitting if not is_ahead(each["time"], utc())] or fitting
    chosen = by_id or ours(fitting, state, host)
    if not chosen:
        said = f"there is no snapshot {wanted} of {' or '.join(tags)}"
        if fitting:
            said += " in this series; those that fit belong to another series (before --anew): name one by its id"
        raise BackupError(f"{said}; carrel-backup snapshots lists them")
    return chosen[-1]


def later(snapshots: Sequence[Mapping[str, Any]], moment: datetime.datetime, hosts: Sequence[str]) -> list[str]:
    """The ids of these hosts' snapshots with times after MOMENT."""
    return [each["id"] for each in snapshots if each["on"] in hosts and parsed(each["time"]) > moment]


def is_ahead(time: str, now: datetime.datetime) -> bool:
    """Whether a snapshot is of a host whose clock was wrong. Clocks may differ by a day."""
    return parsed(time) > now + datetime.timedelta(days=1)


def utc() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc)


def label(time: str) -> str:
    """The name of the folder with people's restored files: the day of the backup, by the host's clock."""
    return f"restored-{parsed(time):%Y-%m-%d}"


def parsed(text: str) -> datetime.datetime:
    """Parse restic's times, into the host's zone. Raises ValueError, also if no calendar has the time in this zone.

    The account can write snapshots of any time into its repository.
    """
    try:
        return datetime.datetime.fromisoformat(text).astimezone()
    except (OverflowError, OSError) as error:
        raise ValueError(f"{text} is no time: {error}") from error


def end_of(text: str) -> datetime.datetime | None:
    """The last moment of a day, a minute or a second, in the host's time zone unless it names one."""
    try:
        length = {10: datetime.timedelta(days=1), 16: datetime.timedelta(minutes=1)}.get(
            len(text), datetime.timedelta(seconds=1)
        )
        return parsed(text) + length - datetime.timedelta(microseconds=1)
    except (ValueError, OverflowError):
        return None
