# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Cases of test_plan_problems.py about resets, and about the token that one may rotate."""

from __future__ import annotations

from typing import Any

from plan_helpers import CLASS, GEO, TAO, at_hub, here, two

RESET_CASES: list[tuple[str, str, str, dict[str, Any]]] = [
    ("choice", f"{TAO}.reset.people", "write wait, skip or ignore", here(reset={"people": "kill"})),
    ("range", f"{TAO}.reset.spread_minutes", "from 0 to 180", here(reset={"spread_minutes": 181})),
    ("range", f"{TAO}.reset.pull_timeout_seconds", "from 10", here(reset={"pull_timeout_seconds": 0})),
    ("range", f"{TAO}.reset.deadline_seconds", "to 86400", here(reset={"deadline_seconds": -1})),
    ("range", f"{TAO}.reset.notice_seconds", "to 86400", here(reset={"notice_seconds": 86401})),
    ("range", f"{TAO}.reset.drain_seconds", "to 600", here(reset={"drain_seconds": 601})),
    ("range", f"{TAO}.reset.prune_days", "to 3650", here(reset={"prune_days": 3651})),
    ("time", f"{TAO}.reset.at", "'25:00' is not a time of day", here(reset={"at": "25:00"})),
    ("time", f"{TAO}.reset.at", "is not a time of day", here(reset={"at": "01:00\n"})),
    ("time", f"{TAO}.reset.at", "write HH:MM", here(reset={"at": "weekly"})),
    ("time_unquoted", f"{TAO}.reset.at", '"11:25" in quotes', here(reset={"at": 685})),
    (
        "timezone",
        f"{TAO}.reset.timezone",
        "write a name such as Europe/Berlin",
        here(reset={"at": "01:25", "timezone": "Europe/Berln"}),
    ),
    (
        "timezone",
        f"{TAO}.reset.timezone",
        "such as America/New_York",
        here(reset={"at": "01:25", "timezone": "new york"}),
    ),
    (
        "reset_too_long",
        f"{TAO}.reset",
        "may wait 25 hours, and the next one begins after 24; make it 23 by lowering some of notice_seconds, ",
        here(reset={"at": "01:25", "deadline_seconds": 86400}),
    ),
    (
        "reset_too_long",
        f"{CLASS}.reset",
        "lowering some of notice_seconds, pull_timeout_seconds, drain_seconds, spread_minutes",
        at_hub(
            reset={"at": "daily", "people": "skip", "pull": True, "pull_timeout_seconds": 80000, "spread_minutes": 120}
        ),
    ),
    (
        "reset_too_long",
        f"{TAO}.reset",
        "lowering some of notice_seconds, deadline_seconds, drain_seconds, command_seconds",
        here(reset={"at": "01:25", "deadline_seconds": 80000, "before": ["true"], "command_seconds": 1800}),
    ),
    ("wrong_type", f"{TAO}.reset.before", "is text; write a list", here(reset={"before": "/bin/true"})),
    ("range", f"{TAO}.reset.command_seconds", "to 3600", here(reset={"command_seconds": 3601})),
    ("timezone", f"{TAO}.reset.timezone", "'+1'", here(reset={"at": "01:25", "timezone": "+1"})),
    ("timezone", f"{TAO}.reset.timezone", "Asia/Kolkata", here(reset={"at": "01:25", "timezone": "Asia/Calcuta"})),
    ("timezone", f"{TAO}.reset.timezone", "Asia/Kolkata", here(reset={"at": "01:25", "timezone": "calcutta"})),
    ("timezone", f"{TAO}.reset.timezone", "America/New_York", here(reset={"at": "01:25", "timezone": "US/Estern"})),
    ("timezone_alone", f"{TAO}.reset.timezone", "write at: HH:MM", here(reset={"at": "daily", "timezone": "UTC"})),
    ("timezone_alone", f"{TAO}.reset.timezone", "write at: HH:MM", here(reset={"timezone": "UTC"})),
    (
        "rotate_token",
        f"{TAO}.reset.rotate_token",
        "and token is given; leave it out",
        here(token="SECRET", reset={"rotate_token": True}),
    ),
    ("token_file_given", f"{TAO}.token_file", "password is given", here(password="SECRET", token_file="/srv/tokens/a")),
    (
        "token_file_twice",
        f"{GEO}.token_file",
        f"also the token_file of {TAO}",
        {"instances": two({"token_file": "/srv/tokens/a"}, {"token_file": "/srv/tokens/a"})},
    ),
    ("token_place", f"{TAO}.token_file", "anybody can write", here(token_file="/tmp/token")),
    ("token_place", f"{TAO}.token_file", "engine's account", here(token_file="/root/token")),
    ("token_place", f"{TAO}.token_file", "holds an instance", here(token_file="/srv/tao/data/notebooks/token")),
    (
        "token_place",
        f"{TAO}.token_file",
        "holds an instance",
        {"instances": two({"token_file": "/srv/geo/token"}, {})},
    ),
    (
        "token_place",
        f"{TAO}.token_file",
        "geo mounts /data",
        {"instances": two({"token_file": "/data/t"}, {"volumes": [{"source": "/data", "target": "/d"}]})},
    ),
    (
        "rotate_token",
        f"{CLASS}.reset.rotate_token",
        "users of a hub log in without one",
        at_hub(reset={"rotate_token": True}),
    ),
]
