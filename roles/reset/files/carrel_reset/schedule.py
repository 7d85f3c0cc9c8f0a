# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The set time for which cron has started the program."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta, timezone
from zoneinfo import ZoneInfo

TICK = timedelta(minutes=15)  # how often cron starts the program if the settings have a time zone
# cron makes up for clocks that jump by less than this, as in spring and autumn: cron(8)
JUMP = timedelta(hours=3)


def due(now: datetime, at: str, zone_name: str | None, lead_seconds: int, last: str | None) -> datetime | None:
    """Return the set time for which a start at NOW is due; None if there is none, or if LAST is the same one.

    AT is HH:MM, or "daily" for a reset as soon as the lead is over. With ZONE_NAME cron starts the program each quarter
    of an hour, and one start of each day is due; without it, cron alone decides, by the host's time. LAST is
    scheduled_for of state.json. An unknown zone raises ZoneInfoNotFoundError.

    A day has one set time: the first one if autumn repeats the hour, and later by the skipped time if spring skips it.
    """
    reached = now.astimezone(timezone.utc) + timedelta(seconds=lead_seconds)
    zone = ZoneInfo(zone_name) if zone_name else None
    if at == "daily":
        return reached.astimezone(zone)
    around = reached.astimezone(zone).date()
    times = [_instant(around + timedelta(days=days), time.fromisoformat(at), zone) for days in (-1, 0, 1)]
    if zone:
        meant = [instant for instant in times if timedelta(0) <= reached - instant < TICK]
    else:
        meant = [instant for instant in times if abs(reached - instant) < JUMP]
    return meant[0].astimezone(zone) if meant and meant[0] != _parsed(last) else None


def _instant(day: date, at: time, zone: ZoneInfo | None) -> datetime:
    # In UTC, because Python compares and subtracts times of one zone by their wall clock; through the timestamp,
    # because astimezone() turns a time that spring skips on the host into an earlier one.
    return datetime.fromtimestamp(datetime.combine(day, at, zone).timestamp(), timezone.utc)


def _parsed(last: object) -> datetime | None:
    try:
        return datetime.fromisoformat(str(last)).astimezone(timezone.utc)
    except (ValueError, OverflowError):
        return None
