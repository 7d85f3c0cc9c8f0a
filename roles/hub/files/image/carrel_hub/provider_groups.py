# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Remember people's groups at the identity provider, and find the hub's groups that follow from them.

The provider is asked only at a log-in, but API tokens outlive sessions. So its answer counts for a day.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

from .files import read_state, write_state
from .people import Roster

# by name: {"groups": [group of the provider], "at": time}; older versions wrote only the list
FILE = "provider-groups.json"
MOST = 1000
REMEMBERED_SECONDS = 24 * 3600


def remember(name: str, groups: Iterable[str]) -> None:
    known = read_state(FILE)
    found = sorted(set(groups))[:MOST]
    if found or name in known:
        write_state(FILE, {**known, name: {"groups": found, "at": time.time()}})


def memberships(roster: Roster, known: Mapping[str, list[str]] | None = None) -> Mapping[str, set[str]]:
    """Return members by group who are not in the inventory's list of members. KNOWN: by default the recent groups."""
    known = recent() if known is None else known
    return {
        group: {name for name, groups in known.items() if not wanted.isdisjoint(groups)}
        for group, wanted in ((group, set(names)) for group, names in roster.provider_groups.items())
    }


def recent() -> dict[str, list[str]]:
    """Return the provider's groups of people who have logged in within the last day."""
    return _since(time.time() - REMEMBERED_SECONDS)


def ever() -> dict[str, list[str]]:
    """Return the last known groups of everybody. Servers outlive log-ins."""
    return _since(0)


def _since(moment: float) -> dict[str, list[str]]:
    known: dict[str, Any] = read_state(FILE)
    return {name: entry["groups"] for name, entry in known.items() if isinstance(entry, dict) and entry["at"] > moment}


def by_person(roster: Roster, known: Mapping[str, list[str]] | None = None) -> dict[str, set[str]]:
    """Return the groups of everybody who is in one, by the inventory or by the provider. KNOWN: as in memberships."""
    found: dict[str, set[str]] = {}
    for members in (roster.groups, memberships(roster, known)):
        for group, names in members.items():
            for name in names:
                found.setdefault(name, set()).add(group)
    return found


def groups_of(roster: Roster, name: str) -> list[str]:
    return [group for group, names in memberships(roster).items() if name in names]
