# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an administrator adds to a hub: packages, services, traits of classes. The hub's image checks their content."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._plan import types, values
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.key import Key, Type, filled, record_of
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.names import is_name
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.problems import Problems, kind_of, show
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.schema import (
    INVALID,
    Invalid,
    json_data,
    listing,
    read,
    text,
    wrong_type,
)

# Services that the role adds; see carrel_hub.config.
_OUR_SERVICES = ("backups", "idle-culler", "metrics", "proxy", "reset", "roster")
EVERYBODY = "everybody"


def _package(value: Any, path: str, problems: Problems) -> str | Invalid:
    checked: str | Invalid = text("name==version")(value, path, problems)
    name = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
    if checked is not INVALID and not re.fullmatch(
        rf"{name}(?:\[{name}(?:,{name})*\])?==[A-Za-z0-9][A-Za-z0-9.!+_-]*", checked
    ):
        problems.add(path, "package", value=show(checked))
        return INVALID
    return checked


def _class(value: Any, path: str, problems: Problems) -> str | Invalid:
    checked: str | Invalid = text("a class's full name, with its module")(value, path, problems)
    if checked is not INVALID and not re.fullmatch(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+", checked, re.ASCII):
        problems.add(path, "class_name", value=show(checked))
        return INVALID
    return checked


def _traits(value: Any, path: str, problems: Problems, secret: bool) -> dict[str, Any] | Invalid:
    if not isinstance(value, Mapping):
        return wrong_type(value, "a mapping of traits, for example {enable_pkce: false}", path, problems)
    result: dict[str, Any] = {}
    for name, item in value.items():
        if not isinstance(name, str) or not re.fullmatch(r"[a-z]\w{0,60}", name, re.ASCII):
            problems.add(path, "trait_name", value=show(name) if isinstance(name, str) else kind_of(name))
            return INVALID
        here = f"{path}.{name}"
        if not secret and re.search(r"secret|password", name) and isinstance(item, str):
            problems.add(here, "trait_secret", name=name)
            return INVALID
        result[str(name)] = read(values.secret if secret else json_data, item, here, problems)
    return INVALID if INVALID in result.values() else result


def _open_traits(value: Any, path: str, problems: Problems) -> dict[str, Any] | Invalid:
    return _traits(value, path, problems, secret=False)


def _secret_traits(value: Any, path: str, problems: Problems) -> dict[str, Any] | Invalid:
    return _traits(value, path, problems, secret=True)


def _service_name(value: Any, path: str, problems: Problems) -> str | Invalid:
    checked: str | Invalid = text("a name, for example announcements")(value, path, problems)
    if checked is INVALID:
        return INVALID
    if checked in _OUR_SERVICES or not is_name(checked):
        problems.add(path, "service_name", value=show(checked), taken=", ".join(_OUR_SERVICES))
        return INVALID
    return checked


def _service_url(value: Any, path: str, problems: Problems) -> str | Invalid:
    checked: str | Invalid = text("an address that the hub reaches, for example http://stats:9000")(
        value, path, problems
    )
    if checked is not INVALID and not re.fullmatch(r"https?://[A-Za-z0-9._-]+(:[0-9]{1,5})?(/[^\s?#@\\]*)?", checked):
        problems.add(path, "service_url")
        return INVALID
    return checked


def _access(value: Any, path: str, problems: Problems) -> Any:
    if value == EVERYBODY:
        return EVERYBODY
    return listing(text("a group's name"), "everybody, or a list of groups")(value, path, problems)


SERVICE: dict[str, Key] = {
    "name": Key(
        Type(_service_name, "1 to 31 of a-z, 0-9 and '-', beginning with a letter", "Roster"),
        "Name; its pages are at /services/NAME/.",
        example="announcements",
        needed="a name",
    ),
    "url": Key(
        Type(_service_url, "an address", "stats:9000"),
        "Address at which the hub's proxy reaches its pages.",
        example="http://stats.example.org:9000",
    ),
    "command": Key(
        types.WORDS,
        "Command that the hub starts in its own container.",
        example=["python3", "-m", "announcements"],
    ),
    "environment": Key(
        Type(values.variables('a mapping, for example {PORT: "9000"}'), "a mapping of names to text", [], "dict"),
        "Variables of the command.",
        example={"PORT": "9000"},
        default={},
    ),
    "scopes": Key(
        types.listing(types.text("a scope"), "a list of scopes, for example [list:users]", "a list of scopes"),
        "Scopes of its token at the hub's API.",
        example=["list:users"],
        default=[],
    ),
    "access": Key(
        Type(_access, "everybody, or a list of groups", 5, "raw"),
        "Who may open its pages besides admins of the hub.",
        example=["statistics"],
        default=[],
    ),
}
_service = record_of(SERVICE)


def _read_service(value: Any, path: str, problems: Problems) -> dict[str, Any] | Invalid:
    parts = _service(value, path, problems)
    return parts if isinstance(parts, Invalid) else filled(SERVICE, parts)


PACKAGES_TYPE = types.listing(
    Type(_package, "name==version", "numpy"), "a list of packages, for example [jupyterhub-x==1.0]", "name==version"
)
SERVICES_TYPE = types.listing(
    Type(_read_service, "a mapping", "stats", "dict", keys=SERVICE),
    "a list of mappings with name",
    "a list of mappings",
)
CLASS_TYPE = Type(_class, "a class's full name", "LDAPAuthenticator")
TRAITS_TYPE = Type(_open_traits, "a mapping of traits to values", [], "dict")
SECRET_TRAITS_TYPE = Type(_secret_traits, "a mapping of traits to text", 12345678, "dict")
