# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose the names of a hub's users are. Different identities can be simplified to the same name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._people.name_owners import Owner
from ansible_collections.carrel.jupyter.plugins.module_utils._shared.usernames import is_plain, same_identity


def identities(text: str | None, key: str | None) -> dict[str, str]:
    """Return the identities in a file that a hub reads or writes, by name. What is damaged says nothing."""
    try:
        content = json.loads(text or "{}")
        found = content.get(key, {}) if key else content
        each = {name: user.get("identity") if isinstance(user, dict) else user for name, user in found.items()}
    except (ValueError, AttributeError, RecursionError):
        return {}
    return {name: identity for name, identity in each.items() if isinstance(identity, str) and is_plain(identity)}


def others(owners: Mapping[str, Owner], wanted: Mapping[str, str]) -> set[str]:
    """Return the names that are somebody else's by now. WANTED has the identities in the inventory."""
    return {
        name
        for name, identity in wanted.items()
        if name in owners and not same_identity(owners[name].identity, identity)
    }


def narrowed(roster: Mapping[str, Any], present: str) -> dict[str, Any] | None:
    """Return the part of a new roster whose people the PRESENT one lists. None if that is damaged."""
    try:
        listed = {name: str(user["identity"]) for name, user in json.loads(present)["users"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    wanted = {name: user["identity"] for name, user in roster["users"].items()}
    same = {name for name in wanted.keys() & listed.keys() if same_identity(listed[name], wanted[name])}
    return without(roster, wanted.keys() - same)


def without(roster: Mapping[str, Any], names: set[str]) -> dict[str, Any]:
    """Return a roster that does not list some names."""
    groups = {group: [name for name in members if name not in names] for group, members in roster["groups"].items()}
    users = {name: user for name, user in roster["users"].items() if name not in names}
    return {**roster, "users": users, "groups": groups}
