# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages of a plan about several authenticators of a hub: id, path, what the message must contain, inputs."""

from __future__ import annotations

from typing import Any

from plan_helpers import CLASS, at_hub

EACH = f"{CLASS}.authenticator.each"
UNI: dict[str, Any] = {"name": "uni", "title": "University", "type": "ldap", "server_address": "ldap.example"}
GUESTS: dict[str, Any] = {"name": "guests", "title": "Guests", "type": "native"}
GIT: dict[str, Any] = {
    "name": "git", "title": "GitHub", "type": "github", "client_id": "hub", "client_secret": "SECRET",
}  # fmt: skip


def several(*each: Any, **keys: Any) -> dict[str, Any]:
    return at_hub(authenticator={"type": "several", "each": list(each)}, **{"users": ["uni-ada"], **keys})


def one(base: dict[str, Any], **keys: Any) -> dict[str, Any]:
    return {key: item for key, item in {**base, **keys}.items() if item is not ...}


def group(*names: str, **keys: Any) -> dict[str, Any]:
    return several(UNI, GUESTS, groups={"g": {"members": ["uni-ada"], "provider_groups": list(names)}}, **keys)


SEVERAL_CASES: list[tuple[str, str, str, dict[str, Any]]] = [
    ("missing", EACH, "each with name, title and type", at_hub(authenticator={"type": "several"})),
    ("wrong_type", EACH, "a list of authenticators", at_hub(authenticator={"type": "several", "each": {}})),
    ("wrong_type", f"{EACH}[1]", "name: guests, title: Guests", several(UNI, "native")),
    ("several_few", EACH, "has 1; write at least two", several(UNI)),
    ("missing", f"{EACH}[1].title", "what people know it by", several(UNI, one(GUESTS, title=...))),
    ("missing", f"{EACH}[1].name", "a short name", several(UNI, one(GUESTS, name=...))),
    ("missing", f"{EACH}[1].type", "one of native, github", several(UNI, one(GUESTS, type=...))),
    ("missing", f"{EACH}[0].server_address", "host name", several(one(UNI, server_address=...), GUESTS)),
    ("choice", f"{EACH}[1].type", "'dummy' is not one of", several(UNI, one(GUESTS, type="dummy"))),
    ("choice", f"{EACH}[1].type", "'several' is not one of", several(UNI, one(GUESTS, type="several"))),
    ("class_name", f"{EACH}[1].class", "its module", several(UNI, one(GUESTS, type="custom", **{"class": "Mine"}))),
    ("unknown_key_far", f"{EACH}[1].server_address", "name, title", several(UNI, one(GUESTS, server_address="x"))),
    ("several_name", f"{EACH}[1].name", "'Guests' is not a name", several(UNI, one(GUESTS, name="Guests"))),
    ("several_name", f"{EACH}[1].name", "1 to 15", several(UNI, one(GUESTS, name="a" * 16))),
    ("several_prefix", f"{EACH}[1].prefix", "ending in '-'", several(UNI, one(GUESTS, prefix="g"))),
    ("several_prefix", f"{EACH}[1].prefix", "'G-' is not", several(UNI, one(GUESTS, prefix="G-"))),
    ("wrong_type", f"{EACH}[1].prefix", "for example uni-", several(UNI, one(GUESTS, prefix=7))),
    ("several_twice", f"{EACH}[1].name", f"the name of {EACH}[0]", several(UNI, one(GUESTS, name="uni", prefix="g-"))),
    ("several_twice", f"{EACH}[1].title", "is also the title of", several(UNI, one(GUESTS, title="University"))),
    ("several_names", f"{EACH}[1].prefix", "two people could share an account", several(UNI, one(UNI, name="b",
     title="B", prefix="uni-"))),
    ("several_names", f"{EACH}[1].prefix", "begin with '', too", several(one(UNI, prefix=""), one(GUESTS, prefix=""))),
    ("several_native", f"{EACH}[2].type", f"{EACH}[1] is of type native", several(UNI, GUESTS,
     one(GUESTS, name="b", title="B"))),
    ("user_provider", f"{CLASS}.users[0]", "'ada' begins with no prefix", several(UNI, GUESTS, users=["ada"])),
    ("user_provider", f"{CLASS}.users[0]", "one of uni-, guests- before", several(UNI, GUESTS, users=["university"])),
    (
        "password_not_native",
        f"{CLASS}.users[0].password",
        "log in with ldap",
        several(UNI, GUESTS, users=[{"name": "uni-ada", "password": "SECRET-SECRET"}]),
    ),
    (
        "password_short",
        f"{CLASS}.users[0].password",
        "too short",
        several(UNI, GUESTS, users=[{"name": "guests-ada", "password": "SECRET"}]),
    ),
    ("provider_groups_several", f"{CLASS}.groups.g.provider_groups", "'stat' does not say which", group("stat")),
    ("provider_groups_several", f"{CLASS}.groups.g.provider_groups", "with one of uni", group("guests:stat")),
    ("provider_groups_several", f"{CLASS}.groups.g.provider_groups", "NAME:GROUP", group("uni:")),
    (
        "volumes_prune",
        f"{CLASS}.prune",
        "authenticator.each[1].signup lets in",
        several(UNI, one(GUESTS, signup=True), backend="volumes", users_view="none", prune="archive"),
    ),
    ("trait_secret", f"{EACH}[0].settings.a_secret", "secret_settings", several(one(UNI, settings={"a_secret": "x"}),
     GUESTS)),
]  # fmt: skip
