# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an instance says about its resets."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from ansible_collections.carrel.jupyter.plugins.module_utils._plan.nearest import nearest
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.problems import Problems, show
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.schema import (
    INVALID,
    Invalid,
    boolean,
    choice,
    given,
    record,
    text,
    whole,
    wrong_type,
)
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.values import has_digest

HOUR = 60 * 60
DAY = 24 * HOUR


class Reset(NamedTuple):
    """What holds when nothing is said. A field is INVALID when a problem with it is reported already."""

    at: Any = None
    timezone: Any = None
    spread_minutes: Any = 0
    pull: Any = False
    pull_timeout_seconds: Any = 1800
    people: Any = "wait"
    deadline_seconds: Any = 3600
    notice_seconds: Any = 300
    drain_seconds: Any = 10
    rotate_token: Any = False
    prune_days: Any = 14


def _at(value: Any, path: str, problems: Problems) -> str | Invalid:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 24 * 60:
        problems.add(path, "time_unquoted", text=f"{value // 60:02}:{value % 60:02}")
        return INVALID
    if not isinstance(value, str):
        return wrong_type(value, 'HH:MM in quotes, for example "01:25", or daily', path, problems)
    match = re.fullmatch(r"([01]?[0-9]|2[0-3]):([0-5][0-9])", value)
    if match:
        return f"{int(match[1]):02}:{match[2]}"
    if value != "daily":
        problems.add(path, "time", value=show(value))
        return INVALID
    return "daily"


_reset = record(
    {
        "at": _at,
        "timezone": text("a time zone, for example Europe/Berlin"),
        "spread_minutes": whole(0, 180),
        "pull": boolean,
        "pull_timeout_seconds": whole(10, DAY),
        "people": choice("wait", "skip", "ignore"),
        "deadline_seconds": whole(0, DAY),
        "notice_seconds": whole(0, DAY),
        "drain_seconds": whole(0, 600),
        "rotate_token": boolean,
        "prune_days": whole(0, 3650),
    },
    {},
)


def read_reset(value: Any, path: str, problems: Problems) -> Reset | Invalid:
    values = _reset(value, path, problems)
    if isinstance(values, Invalid):
        return values
    return Reset(**{key: item for key, item in values.items() if item is not None})


def check_reset(
    reset: Any, path: str, images: Sequence[Any], timezones: Collection[str], problems: Problems
) -> list[str]:
    """PATH: of the key reset; IMAGES: those of the instance. Returns warnings."""
    if not given(reset):
        return []
    if reset.timezone is not None:
        if reset.at in (None, "daily"):
            problems.add(f"{path}.timezone", "timezone_alone")
        # A control node without tzdata knows none; the host will tell.
        elif given(reset.timezone) and timezones and reset.timezone not in timezones:
            problems.add(
                f"{path}.timezone", "timezone", value=show(reset.timezone), near=_near(reset.timezone, timezones)
            )
    _check_waits(reset, path, problems)
    if reset.pull is not True:
        return []
    fixed = [image for image in images if given(image) and has_digest(image)]
    return [f"{image} is given by its digest, so that reset.pull never brings a newer one" for image in fixed]


def _check_waits(reset: Reset, path: str, problems: Problems) -> None:
    """All that a scheduled reset may wait for must end before the next one begins."""
    if not given(reset.at) or reset.at is None:
        return
    waits = {
        "notice_seconds": reset.notice_seconds,
        "deadline_seconds": reset.deadline_seconds if reset.people == "wait" else 0,
        "pull_timeout_seconds": reset.pull_timeout_seconds if reset.pull is True else 0,
        "drain_seconds": reset.drain_seconds,
        "spread_minutes": reset.spread_minutes,
    }
    if not all(map(given, waits.values())):
        return
    waits["spread_minutes"] *= 60
    if sum(waits.values()) > DAY - HOUR:
        keys = ", ".join(key for key, seconds in waits.items() if seconds)
        problems.add(path, "reset_too_long", hours=-(-sum(waits.values()) // HOUR), keys=keys)


def _near(value: str, timezones: Collection[str]) -> str:
    """The time zone that was probably meant; a city's name is enough."""
    cities = {zone.rpartition("/")[2].lower(): zone for zone in sorted(timezones, reverse=True)}
    return cities.get(value.lower().replace(" ", "_")) or nearest(value, timezones) or "Europe/Berlin"


def reset_text(reset: Reset) -> str:
    """For the summary."""
    parts = [reset.at or "by hand", reset.timezone or "", "with pull" if reset.pull else ""]
    return "reset " + " ".join(filter(None, parts))
