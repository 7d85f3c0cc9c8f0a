# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose a name in the hub is or was. Different identities can be simplified to the same name."""

from __future__ import annotations

from ansible_collections.carrel.jupyter.plugins.module_utils._shared.usernames import is_group, same_identity

from .files import Cached, read_json, read_state
from .people import Roster

# The service of roster.py writes it: `names` of the users in the roster when it was last applied, and `identities`, by
# name, of all people who were ever listed. Older versions wrote only the names. Also `members` of the groups that have
# servers, as the inventory had them, and the servers that it has to `stop` yet.
LISTED = "roster-listed.json"
# People who are not in the roster, by name: the first identity with this name, and when the provider last let it in, or
# 0 if the person has left. Older versions wrote only the identity, or the time of the last log-in.
IDENTITIES = "identities.json"
_read_listed, _read_guests = Cached(read_json), Cached(read_json)


def listed() -> dict[str, str]:
    found: dict[str, str] = read_state(LISTED, _read_listed).get("identities", {})
    return found


def was_group(name: str) -> bool:
    """Whether a name belongs or belonged to the server of a group, whose home may still be there."""
    return is_group(listed().get(name, ""))


def guests() -> dict[str, str]:
    known = read_state(IDENTITIES, _read_guests)
    return {name: each if isinstance(each, str) else str(each["identity"]) for name, each in known.items()}


def known() -> dict[str, str]:
    """Return the identity whose sessions, tokens and server a name in the hub has."""
    names = read_state(LISTED, _read_listed).get("names", [])
    return {**{name: identity for name, identity in guests().items() if name not in names}, **listed()}


def others(roster: Roster, known: dict[str, str]) -> set[str]:
    """Return the listed names that somebody else had."""
    return {
        name
        for name in roster.users.keys() & known.keys()
        if roster.lists(name) and not same_identity(known[name], roster.users[name]["identity"])
    }


def was_another(roster: Roster, name: str) -> bool:
    """Whether the roster gives a name to somebody, and the user with it is still somebody else."""
    if not roster.lists(name):
        return False
    identity = roster.users[name]["identity"]
    # A person asks often, and is nearly always listed.
    owner = listed().get(name) or known().get(name, identity)
    return not same_identity(owner, identity)


def member_at(name: str) -> float:
    """Return when the provider last let a guest in."""
    found = read_state(IDENTITIES, _read_guests).get(name)
    return float(found.get("member_at", 0)) if isinstance(found, dict) else 0
