# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How people log in to a hub: one authenticator, or several whose user names differ by a prefix."""

from __future__ import annotations

import re
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._plan import types
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.hub_authenticator import (
    TYPES,
    Authenticator,
    one,
    read_kind,
    type_key,
)
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.key import Key, Type
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.problems import Problems, show
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.schema import (
    INVALID,
    Invalid,
    text,
    wrong_type,
)

SEVERAL = "several"


def _name(value: Any, path: str, problems: Problems) -> str | Invalid:
    checked: str | Invalid = text("a short name, for example uni")(value, path, problems)
    if checked is not INVALID and not re.fullmatch(r"[a-z]([a-z0-9-]{0,13}[a-z0-9])?", checked):
        problems.add(path, "several_name", value=show(checked))
        return INVALID
    return checked


def _prefix(value: Any, path: str, problems: Problems) -> str | Invalid:
    if not isinstance(value, str):
        return wrong_type(value, 'what names begin with, for example uni-, or "" for nothing', path, problems)
    if not re.fullmatch(r"([a-z][a-z0-9-]{0,14}-)?", value):
        problems.add(path, "several_prefix", value=show(value))
        return INVALID
    return str(value)


# Each of several authenticators has these keys, and those of its type.
PLACE: dict[str, Key] = {
    "name": Key(
        Type(_name, "1 to 15 of a-z, 0-9 and '-'", "Uni"),
        "Short name, which is part of its addresses.",
        example="uni",
        needed="a short name, for example uni",
    ),
    "title": Key(
        types.text("what people know it by"),
        "Title that people see on the log-in page.",
        example="University",
        needed="what people know it by, for example University",
    ),
    "prefix": Key(
        Type(_prefix, "1 to 16 of a-z, 0-9 and '-', with '-' at the end, or nothing", "uni"),
        "Beginning of its people's names in the hub, before the provider's own names.",
        example="u-",
        unset="the name and '-'",
    ),
}
# With dummy, anybody could take names of the other authenticators.
_PLACED = {kind: {**PLACE, **keys} for kind, keys in TYPES.items() if kind != "dummy"}


def _read_one(value: Any, path: str, problems: Problems) -> Authenticator | Invalid:
    wanted = "a mapping, for example {name: guests, title: Guests, type: native}"
    parts = read_kind(value, path, _PLACED, wanted, problems)
    if isinstance(parts, Invalid):
        return INVALID
    name, prefix = parts["name"], parts["prefix"]
    if prefix is None and name is not INVALID:
        parts["prefix"] = f"{name}-"
    found = one(parts, _PLACED[parts["type"]], path, problems)
    return INVALID if INVALID in (name, parts["prefix"], parts["title"]) else found


KEYS: dict[str, Key] = {
    "each": Key(
        types.listing(
            Type(_read_one, "a mapping", "native", "dict", keys=PLACE),
            "a list of authenticators, each with name, title and type",
            "a list of authenticators",
        ),
        "Authenticators from which people choose, each with the keys of its type.",
        example=[
            {"name": "uni", "title": "University", "type": "ldap", "server_address": "ldap.uni.example"},
            {"name": "guests", "title": "Guests", "type": "native"},
        ],
        needed="a list of authenticators, each with name, title and type",
    )
}
ALL_TYPES: dict[str, dict[str, Key]] = {**TYPES, SEVERAL: KEYS}


def read_authenticator(value: Any, path: str, problems: Problems) -> Authenticator | Invalid:
    parts = read_kind(value, path, ALL_TYPES, "a mapping, for example {type: native}", problems)
    if isinstance(parts, Invalid):
        return INVALID
    if parts["type"] != SEVERAL:
        return one(parts, TYPES[parts["type"]], path, problems)
    each = parts["each"]
    if isinstance(each, Invalid):
        return INVALID
    _check_apart(each, f"{path}.each", problems)
    if INVALID in each:
        return INVALID
    return Authenticator({"type": SEVERAL, "each": [member.public for member in each]}, each=each)


def _check_apart(each: list[Authenticator | Invalid], path: str, problems: Problems) -> None:
    """Check that no two authenticators share a name, a title or a prefix."""
    if len(each) < 2:
        problems.add(path, "several_few", count=len(each))
    for index, member in enumerate(each):
        before = [(f"{path}[{at}]", other) for at, other in enumerate(each[:index])]
        for place, other in before:
            if isinstance(member, Invalid) or isinstance(other, Invalid):
                continue
            for key, message in (("name", "several_twice"), ("title", "several_twice"), ("prefix", "several_names")):
                if member.public[key] == other.public[key]:
                    problems.add(
                        f"{path}[{index}].{key}", message, value=show(member.public[key]), other=place, key=key
                    )
            if member.type == other.type == "native":
                problems.add(f"{path}[{index}].type", "several_native", other=place)


AUTHENTICATOR_TYPE = Type(
    read_authenticator,
    "a mapping",
    "native",
    "dict",
    keys={
        "type": type_key(ALL_TYPES),
        **{key: declared for keys in ALL_TYPES.values() for key, declared in keys.items()},
    },
)
