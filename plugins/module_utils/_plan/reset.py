# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The keys in an instance's key reset."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._plan import types
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.key import Key, Type, filled, record_of
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.nearest import nearest
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.problems import Problems, show
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.schema import INVALID, Invalid, given, wrong_type
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.types import DAY
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.values import has_digest

HOUR = 60 * 60


def read_time(value: Any, path: str, problems: Problems, daily: bool = False) -> str | Invalid:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 24 * 60:
        problems.add(path, "time_unquoted", text=f"{value // 60:02}:{value % 60:02}")
        return INVALID
    if not isinstance(value, str):
        wanted = 'HH:MM in quotes, for example "01:25"' + (", or daily" if daily else "")
        return wrong_type(value, wanted, path, problems)
    match = re.fullmatch(r"([01]?[0-9]|2[0-3]):([0-5][0-9])", value)
    if match:
        return f"{int(match[1]):02}:{match[2]}"
    if value == "daily" and daily:
        return "daily"
    problems.add(path, "time", value=show(value), daily=", or daily" if daily else "")
    return INVALID


def _at(value: Any, path: str, problems: Problems) -> str | Invalid:
    return read_time(value, path, problems, daily=True)


RESET: dict[str, Key] = {
    "at": Key(
        Type(_at, "HH:MM in quotes, or daily for when the host runs cron.daily", "25:00"),
        "When cron resets the instance.",
        example="01:25",
        unset="only by hand",
    ),
    "timezone": Key(
        types.text("a time zone, for example Europe/Berlin"),
        "Time zone of at.",
        example="Europe/Berlin",
        unset="the host's",
    ),
    "spread_minutes": Key(
        types.whole(0, 180),
        "The pull begins up to this much earlier; the exact time differs from host to host.",
        example=15,
        default=0,
    ),
    "pull": Key(types.BOOLEAN, "Whether to pull the image first; needs a tag.", example=True, default=False),
    "pull_timeout_seconds": Key(
        types.whole(10, DAY),
        "How long a pull may take before the reset uses the image that is there.",
        example=600,
        default=1800,
    ),
    "people": Key(
        types.choice("wait", "skip", "ignore"),
        "What to do while kernels are busy or terminals in use: wait, put the reset off to the next time, or go ahead.",
        example="skip",
        default="wait",
    ),
    "deadline_seconds": Key(
        types.whole(0, DAY), "How long the reset waits for people before it goes ahead.", example=7200, default=3600
    ),
    "notice_seconds": Key(
        types.whole(0, DAY), "How long before the reset people get a notice; 0: no notice.", example=600, default=300
    ),
    "drain_seconds": Key(
        types.whole(0, 600),
        "How long requests may still run on a lab's old server after the switch.",
        example=60,
        default=10,
    ),
    "rotate_token": Key(
        types.BOOLEAN,
        "Whether a lab without password and token gets a new token.",
        example=True,
        default=False,
    ),
    "prune_days": Key(
        types.whole(0, 3650),
        "After how many days without use old images are removed; 0: never.",
        example=30,
        default=14,
    ),
    "before": Key(
        types.WORDS,
        "Command on the host, as the engine's account, right before each reset; if it fails, there is no reset.",
        example=["/usr/local/bin/before-reset"],
    ),
    "after": Key(
        types.WORDS,
        "The same after each reset, whatever its result; if it fails, the reset warns.",
        example=["/usr/local/bin/after-reset"],
    ),
    "command_seconds": Key(types.whole(1, HOUR), "How long before and after may take, each.", example=60, default=300),
}
_reset = record_of(RESET)


def read_reset(value: Any, path: str, problems: Problems) -> dict[str, Any] | Invalid:
    """Read the mapping. A key is INVALID if its problem is reported already."""
    parts = _reset(value, path, problems)
    return parts if isinstance(parts, Invalid) else filled(RESET, parts)


RESET_TYPE = Type(read_reset, "a mapping", "01:25", "dict", keys=RESET)


def check_reset(
    reset: Any, path: str, images: Sequence[Any], timezones: Mapping[str, str], problems: Problems
) -> list[str]:
    """Check the keys, and return warnings. PATH is that of the key reset, IMAGES are the instance's."""
    if not given(reset):
        return []
    if reset["timezone"] is not None:
        if reset["at"] in (None, "daily"):
            problems.add(f"{path}.timezone", "timezone_alone")
        # Without tzdata, the control node knows no zones. The role reset checks it on the host.
        elif given(reset["timezone"]) and timezones and reset["timezone"] not in timezones:
            problems.add(
                f"{path}.timezone", "timezone", value=show(reset["timezone"]), near=_near(reset["timezone"], timezones)
            )
    _check_waits(reset, path, problems)
    if reset["pull"] is not True:
        return []
    fixed = [image for image in images if given(image) and has_digest(image)]
    return [f"{image} is given by its digest, so that reset.pull never brings a newer one" for image in fixed]


def _check_waits(reset: Mapping[str, Any], path: str, problems: Problems) -> None:
    """Check that a scheduled reset ends before the next one begins, even if it waits as long as it may."""
    if not given(reset["at"]) or reset["at"] is None:
        return
    waits = {
        "notice_seconds": reset["notice_seconds"],
        "deadline_seconds": reset["deadline_seconds"] if reset["people"] == "wait" else 0,
        "pull_timeout_seconds": reset["pull_timeout_seconds"] if reset["pull"] is True else 0,
        "drain_seconds": reset["drain_seconds"],
        "command_seconds": reset["command_seconds"] if reset["before"] or reset["after"] else 0,
        "spread_minutes": reset["spread_minutes"],
    }
    if not all(map(given, waits.values())):
        return
    waits["spread_minutes"] *= 60
    waits["command_seconds"] *= 2
    if sum(waits.values()) > DAY - HOUR:
        keys = ", ".join(key for key, seconds in waits.items() if seconds)
        problems.add(path, "reset_too_long", hours=-(-sum(waits.values()) // HOUR), keys=keys)


def _near(value: str, timezones: Mapping[str, str]) -> str:
    """Return the current name of the nearest time zone, for a suggestion. The name of a city is enough."""
    # If zones share a city, prefer one with a current name.
    ordered = sorted(timezones, key=lambda zone: (zone == timezones[zone], zone))
    cities = {zone.rpartition("/")[2].lower(): zone for zone in ordered}
    found = cities.get(value.lower().replace(" ", "_")) or nearest(value, timezones)
    return timezones[found] if found else "Europe/Berlin"


def reset_text(reset: Mapping[str, Any]) -> str:
    """Describe the resets for the summary."""
    parts = [reset["at"] or "by hand", reset["timezone"] or "", "with pull" if reset["pull"] else ""]
    return "reset " + " ".join(filter(None, parts))
