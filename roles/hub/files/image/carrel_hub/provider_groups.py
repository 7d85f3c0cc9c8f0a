# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The groups of the identity provider at a person's last log-in, and the hub's groups that follow from them.

Nobody asks the provider in between, and API tokens outlive sessions: what it said counts for a day.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

from .files import read_state, write_state
from .people import Roster

# name: {"groups": [group of the provider], "at": time}; versions before had the list alone
FILE = "provider-groups.json"
MOST = 1000
REMEMBERED_SECONDS = 24 * 3600


def remember(name: str, groups: Iterable[str]) -> None:
    known = read_state(FILE)
    found = sorted(set(groups))[:MOST]
    if found or name in known:
        write_state(FILE, {**known, name: {"groups": found, "at": time.time()}})


def memberships(roster: Roster) -> Mapping[str, set[str]]:
    """Members by group, besides those of the inventory: of everybody who has logged in."""
    known = recent()
    return {
        group: {name for name, groups in known.items() if not wanted.isdisjoint(groups)}
        for group, wanted in ((group, set(names)) for group, names in roster.provider_groups.items())
    }


def recent() -> dict[str, list[str]]:
    """The provider's groups of people whose last log-in is less than a day ago."""
    known: dict[str, Any] = read_state(FILE)
    since = time.time() - REMEMBERED_SECONDS
    return {name: entry["groups"] for name, entry in known.items() if isinstance(entry, dict) and entry["at"] > since}


def groups_of(roster: Roster, name: str) -> list[str]:
    return [group for group, names in memberships(roster).items() if name in names]
