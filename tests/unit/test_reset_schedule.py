# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Exactly one reset a local day, whatever zones, clocks and cron do."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import date, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

import pytest
from carrel_reset.schedule import due
from hypothesis import example, given, settings
from hypothesis import strategies as st

UTC = timezone.utc
QUARTER = timedelta(minutes=15)
# With these years no zone's offset has seconds, and all are multiples of a quarter of an hour.
FIRST, LAST_DAY = date(1990, 1, 1), date(2036, 1, 1)
ZONES = sorted(available_timezones() - {"localtime", "Factory"})

times = st.builds("{:02}:{:02}".format, st.integers(0, 23), st.integers(0, 59))
leads = st.integers(0, 300).map(lambda minutes: minutes * 60)


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A host whose time is Berlin's."""
    monkeypatch.setitem(os.environ, "TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def starts(begin: datetime, days: int, at: str, lead: int) -> Iterator[datetime]:
    """When cron starts the program: each quarter of an hour, at the minute of the set time less the lead."""
    minute = (int(at[3:]) - lead // 60) % 15
    for count in range(days * 96):
        yield begin.replace(minute=minute) + count * QUARTER


def run(begin: datetime, days: int, at: str, zone: str, lead: int, late: list[int]) -> list[datetime]:
    """The set times that are met; each start is some seconds late."""
    last, met = None, []
    for count, start in enumerate(starts(begin, days, at, lead)):
        slot = due(start + timedelta(seconds=late[count % len(late)]), at, zone, lead, last)
        if slot:
            last = slot.isoformat()
            met.append(slot)
    return met


@settings(max_examples=80)
@example(date(2008, 3, 1), "00:00", "America/Halifax", 10860, [0])
@given(
    st.dates(FIRST, LAST_DAY),
    times,
    st.sampled_from(ZONES),
    leads,
    st.lists(st.integers(0, 59), min_size=1, max_size=7),
)
def test_one_reset_a_local_day_at_the_time_set(day: date, at: str, zone: str, lead: int, late: list[int]) -> None:
    begin = datetime.combine(day, datetime.min.time(), UTC)
    met = run(begin, 9, at, zone, lead, late)
    hour, minute = int(at[:2]), int(at[3:])
    for days in range(2, 7):
        local = datetime.combine(day + timedelta(days=days), datetime.min.time(), ZoneInfo(zone))
        wanted = local.replace(hour=hour, minute=minute)
        exists = wanted.astimezone(UTC).astimezone(ZoneInfo(zone)).replace(tzinfo=None) == wanted.replace(tzinfo=None)
        on_that_day = [slot for slot in met if (slot.date(), f"{slot:%H:%M}") == (wanted.date(), at)]
        assert len(on_that_day) == exists
    apart = [later.astimezone(UTC) - earlier.astimezone(UTC) for earlier, later in zip(met, met[1:])]
    assert all(timedelta(hours=19) < gap < timedelta(hours=29) for gap in apart)
    # nine days by UTC have ten set times if one of the days has 23 hours
    assert 8 <= len(met) <= 10


# at, zone, what spring skips or autumn repeats, and when in UTC that day's reset is
CHANGES = [
    ("02:30", "Europe/Berlin", "2026-03-28", ["2026-03-28T01:30", "2026-03-29T01:30", "2026-03-30T00:30"]),
    ("02:30", "Europe/Berlin", "2026-10-24", ["2026-10-24T00:30", "2026-10-25T00:30", "2026-10-26T01:30"]),
    ("02:10", "Australia/Lord_Howe", "2026-10-03", ["2026-10-02T15:40", "2026-10-03T15:40", "2026-10-04T15:10"]),
    ("00:15", "Africa/Cairo", "2026-04-23", ["2026-04-22T22:15", "2026-04-23T22:15", "2026-04-24T21:15"]),
    ("23:30", "America/Nuuk", "2026-03-27", ["2026-03-28T01:30", "2026-03-29T01:30", "2026-03-30T00:30"]),
    ("03:00", "Asia/Kathmandu", "2026-03-28", ["2026-03-27T21:15", "2026-03-28T21:15", "2026-03-29T21:15"]),
    # the 30th of December 2011 did not exist there: its set time is that of the 31st
    ("01:25", "Pacific/Apia", "2011-12-29", ["2011-12-29T11:25", "2011-12-30T11:25", "2011-12-31T11:25"]),
]


@pytest.mark.parametrize(("at", "zone", "day", "wanted"), CHANGES)
@pytest.mark.parametrize("lead", [0, 420, 7200])
def test_days_on_which_clocks_change(at: str, zone: str, day: str, wanted: list[str], lead: int) -> None:
    met = run(utc(day) - timedelta(days=1), 5, at, zone, lead, [0, 59])
    met_utc = [slot.astimezone(UTC) for slot in met]
    first = met_utc.index(utc(wanted[0]))
    assert met_utc[first : first + 3] == [utc(text) for text in wanted]


def test_the_answer_is_a_time_that_the_zones_clock_shows() -> None:
    skipped = due(utc("2026-03-29T01:30"), "02:30", "Europe/Berlin", 0, None)
    assert skipped and skipped.isoformat() == "2026-03-29T03:30:00+02:00"


@pytest.mark.parametrize(("late", "is_due"), [(-1, False), (0, True), (899, True), (900, False)])
def test_a_start_is_due_within_a_quarter_of_an_hour(late: int, is_due: bool) -> None:
    now = utc("2026-06-01T23:18:00") + timedelta(seconds=late)
    assert (due(now, "01:25", "Europe/Berlin", 420, None) is not None) is is_due


def test_a_clock_set_back_does_not_reset_twice() -> None:
    now = utc("2026-06-01T23:25:03")
    slot = due(now, "01:25", "Europe/Berlin", 0, None)
    assert slot
    for back in (timedelta(0), timedelta(seconds=3)):
        assert due(now - back, "01:25", "Europe/Berlin", 0, slot.isoformat()) is None
    # the zone of the host or of the settings may have changed: it is the moment that counts
    assert due(now, "01:25", "Europe/Berlin", 0, slot.astimezone(UTC).isoformat()) is None
    assert due(now + timedelta(days=1), "01:25", "Europe/Berlin", 0, slot.isoformat())


def test_a_clock_that_was_far_ahead_does_not_hold_resets_up() -> None:
    assert due(utc("2026-06-01T23:25"), "01:25", "Europe/Berlin", 0, "2031-01-01T01:25:00+01:00")


@pytest.mark.parametrize("last", ["", "yesterday", "0001-01-01T00:00:00+14:00", "2026-06-01T23:25:00", 5, ["x"], {}])
def test_an_invalid_last_time_is_ignored(last: Any) -> None:
    assert due(utc("2026-06-02T23:25"), "01:25", "Europe/Berlin", 0, last)


def test_an_unknown_zone_is_an_error() -> None:
    with pytest.raises(ZoneInfoNotFoundError):
        due(utc("2026-06-01T23:25"), "01:25", "Europe/Berln", 0, None)


# cron on a host in Berlin: a job's time that spring skips is made up for at once, one that autumn repeats is run once
@pytest.mark.usefixtures("berlin")
@pytest.mark.parametrize(
    ("now", "at", "lead", "wanted"),
    [
        ("2026-06-01T23:18:02", "01:25", 420, "2026-06-02T01:25:00+02:00"),
        ("2026-12-01T22:48:00", "00:05", 1020, "2026-12-02T00:05:00+01:00"),  # across midnight
        ("2026-03-29T01:00:01", "02:30", 0, "2026-03-29T03:30:00+02:00"),
        ("2026-03-29T01:00:01", "03:10", 1800, "2026-03-29T03:10:00+02:00"),
        ("2026-10-25T00:40:00", "03:10", 1800, "2026-10-25T03:10:00+01:00"),
        ("2026-10-25T00:30:00", "02:30", 0, "2026-10-25T02:30:00+02:00"),
    ],
)
def test_without_a_zone_it_is_the_hosts_time(now: str, at: str, lead: int, wanted: str) -> None:
    slot = due(utc(now), at, None, lead, None)
    assert slot and slot.isoformat() == wanted
    assert due(utc(now), at, None, lead, slot.isoformat()) is None


@pytest.mark.usefixtures("berlin")
def test_a_start_far_from_the_time_set_is_for_none() -> None:
    assert due(utc("2026-06-01T12:00"), "01:25", None, 420, None) is None


@pytest.mark.usefixtures("berlin")
def test_daily_has_no_time_of_its_own() -> None:
    slot = due(utc("2026-06-01T04:25:00"), "daily", None, 300, "2026-05-31T06:30:00+02:00")
    assert slot and slot.isoformat() == "2026-06-01T06:30:00+02:00"
