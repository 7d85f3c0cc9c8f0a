# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""In which groups the identity provider had somebody at the last log-in, and which groups here follow from that."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from .files import read_state, write_state
from .people import Roster

FILE = "provider-groups.json"  # name: [group of the provider]
MOST = 1000


def remember(name: str, groups: Iterable[str]) -> None:
    known = read_state(FILE)
    found = sorted(set(groups))[:MOST]
    if known.get(name, []) != found:
        write_state(FILE, {**known, name: found})


def memberships(roster: Roster) -> Mapping[str, set[str]]:
    """Members by group, besides those of the inventory: of everybody who has logged in."""
    known = read_state(FILE)
    return {
        group: {name for name, groups in known.items() if not wanted.isdisjoint(groups)}
        for group, wanted in ((group, set(names)) for group, names in roster.provider_groups.items())
    }


def groups_of(roster: Roster, name: str) -> list[str]:
    return [group for group, names in memberships(roster).items() if name in names]
