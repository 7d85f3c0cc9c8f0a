# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Readers of single values of a hub."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._plan import values
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.keys import DAY
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.keys import LIMITS as LAB_LIMITS
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.problems import Problems, kind_of, show
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.schema import (
    INVALID,
    Invalid,
    Reader,
    boolean,
    choice,
    given,
    has_control,
    listing,
    mapping,
    read,
    record,
    text,
    whole,
    wrong_type,
)

POSTGRES = "docker.io/library/postgres:17"
CULLER = {"idle_seconds": 3600, "max_age_seconds": 0, "every_seconds": 300}

LIMITS: dict[str, Reader] = {
    "memory": LAB_LIMITS["memory"],
    # On top of memory; 0 is none, also where a group or the hub gives some.
    "swap": values.size(1 << 20, 64 << 40, "1M", "64T, or 0 for none", zero=True),
    "cpus": LAB_LIMITS["cpus"],
    "pids": LAB_LIMITS["pids"],
}

limits = record(LIMITS, {})


@dataclasses.dataclass
class User:
    """A user as written. A field is INVALID when a problem with it is reported already."""

    path: str
    name: Any = None
    # False: it could not be rendered, so that it may be any name.
    rendered: bool = True
    admin: Any = False
    groups: Any = dataclasses.field(default_factory=list)
    password: Any = None
    memory: Any = None
    swap: Any = None
    cpus: Any = None
    pids: Any = None


def reserved(variable: str) -> str | None:
    """What to do about a variable that JupyterHub sets for every server."""
    return "leave it out" if variable.startswith("JUPYTERHUB_") else None


_user_name = text("a name in quotes")
USER: dict[str, Reader] = {
    "name": _user_name,
    "groups": listing(text("a group's name"), "a list of groups"),
    "admin": boolean,
    "password": values.secret,
    **LIMITS,
}
_user = mapping(USER)


def read_user(value: Any, path: str, problems: Problems) -> User:
    if isinstance(value, str):
        return User(path, _user_name(value, path, problems))
    parts = read(_user, value, path, problems)
    rendered = value is not INVALID and not (isinstance(value, Mapping) and INVALID in value.values())
    if isinstance(parts, Invalid):
        return User(path, INVALID, rendered)
    if parts.get("name") is None:
        problems.add(f"{path}.name", "missing", wanted="the user's name, as the authenticator has it")
        parts["name"] = INVALID
    return User(path, rendered=rendered, **{key: item for key, item in parts.items() if item is not None})


def users(value: Any, path: str, problems: Problems) -> list[User] | Invalid:
    if not isinstance(value, list):
        return wrong_type(value, "a list of names or of mappings with name, groups, admin, ...", path, problems)
    return [read_user(item, f"{path}[{index}]", problems) for index, item in enumerate(value)]


_files = listing(text("the path of a CSV file"), "the path of a CSV file, or a list of paths")


def files(value: Any, path: str, problems: Problems) -> list[str] | Invalid:
    result: list[str] | Invalid = _files([value] if isinstance(value, str) else value, path, problems)
    return result


@dataclasses.dataclass
class Group:
    path: str
    good: bool = True  # the name
    members: Any = dataclasses.field(default_factory=list)
    admins: Any = dataclasses.field(default_factory=list)
    mounts: Any = None
    memory: Any = None
    swap: Any = None
    cpus: Any = None
    pids: Any = None


_mode = choice("none", "ro", "rw")
_mount = record(
    {
        "source": text("a folder below the instance's data"),
        "target": text("a folder"),
        "members": _mode,
        "admins": _mode,
    },
    {"source": "a folder below the instance's data, for example groups/statistics"},
)


def mount(value: Any, path: str, problems: Problems) -> dict[str, Any] | Invalid:
    parts = _mount(value, path, problems)
    if isinstance(parts, Invalid):
        return parts
    return {**parts, "members": parts["members"] or "rw", "admins": parts["admins"] or "rw"}


_names = listing(_user_name, "a list of names")
_group = mapping(
    {"members": _names, "admins": _names, "mounts": listing(mount, "a list of {source, target}"), **LIMITS}
)


def groups(value: Any, path: str, problems: Problems) -> dict[str, Group] | Invalid:
    if not isinstance(value, Mapping):
        return wrong_type(
            value, "a mapping of names to groups, for example {statistics: {members: [ada]}}", path, problems
        )
    result: dict[str, Group] = {}
    for name, item in value.items():
        # A folder's name; the same as in the module group_mounts.
        good = isinstance(name, str) and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", name)
        if not good:
            problems.add(path, "group_name", value=show(name) if isinstance(name, str) else kind_of(name))
        here = f"{path}.{name}" if good else path
        parts = {} if item is None else read(_group, item, here, problems)
        known = {} if isinstance(parts, Invalid) else {key: entry for key, entry in parts.items() if entry is not None}
        result[str(name)] = Group(here, good=bool(good), **known)
    return result


_culler = mapping(
    {"idle_seconds": whole(0, 366 * DAY), "max_age_seconds": whole(0, 366 * DAY), "every_seconds": whole(1, DAY)}
)


def culler(value: Any, path: str, problems: Problems) -> dict[str, int] | Invalid:
    parts = _culler(value, path, problems)
    if isinstance(parts, Invalid) or INVALID in parts.values():
        return INVALID
    return {**CULLER, **{key: item for key, item in parts.items() if item is not None}}


_images = listing(
    record(
        {"title": text("a title for the list of images"), "image": values.image_source},
        {"title": "a title for the list of images", "image": "an image reference"},
    ),
    "a list of {title, image}",
)


def images(value: Any, path: str, problems: Problems) -> list[dict[str, Any]] | Invalid:
    result: list[dict[str, Any]] | Invalid = _images(value, path, problems)
    if isinstance(result, Invalid):
        return result
    if not result:
        problems.add(path, "empty", wanted="a list of {title, image}")
        return INVALID
    first: dict[str, int] = {}
    for index, item in enumerate(result):
        if given(item) and given(item["title"]) and first.setdefault(item["title"], index) != index:
            problems.add(f"{path}[{index}].title", "title_twice", value=show(item["title"]))
    return result


def default_url(value: Any, path: str, problems: Problems) -> str | Invalid:
    if not isinstance(value, str):
        return wrong_type(value, "a path in quotes, for example /lab", path, problems)
    if not value.startswith("/") or value.startswith("//") or has_control(value) or re.search(r"[\s\\{}]", value):
        problems.add(path, "default_url", value=show(value))
        return INVALID
    return str(value)


_database = record({"type": choice("sqlite", "postgresql"), "image": values.image}, {"type": "sqlite or postgresql"})


def database(value: Any, path: str, problems: Problems) -> dict[str, str | None] | Invalid:
    parts = _database({"type": value} if isinstance(value, str) else value, path, problems)
    if isinstance(parts, Invalid):
        return parts
    if parts["type"] == "sqlite" and parts["image"]:
        problems.add(f"{path}.image", "database_image")
    elif given(parts["image"]) and not values.has_tag_or_digest(parts["image"]):
        problems.add(f"{path}.image", "image_tag")
    return {"type": parts["type"], "image": (parts["image"] or POSTGRES) if parts["type"] == "postgresql" else None}


def settings(value: Any, path: str, problems: Problems) -> dict[str, Any] | Invalid:
    if not isinstance(value, Mapping):
        return wrong_type(
            value, 'a mapping, for example {"@jupyterlab/apputils-extension:themes": {theme: ...}}', path, problems
        )
    result: dict[str, Any] = {}
    valid = True
    for plugin, item in value.items():
        # The names of JupyterLab's settings: an npm package, a colon and a plugin.
        if not isinstance(plugin, str) or not re.fullmatch(r"(?:@[a-z0-9._-]+/)?[a-z0-9._-]+:[\w.-]+", plugin):
            problems.add(path, "settings_plugin", value=show(plugin) if isinstance(plugin, str) else kind_of(plugin))
            valid = False
        elif isinstance(item, Mapping):
            result[str(plugin)] = _json(item, f"{path}.{plugin}", problems)
        else:
            result[str(plugin)] = (
                INVALID
                if item is INVALID
                else wrong_type(item, "a mapping of the plugin's settings", f"{path}.{plugin}", problems)
            )
    return result if valid and INVALID not in result.values() else INVALID


def _json(value: Any, path: str, problems: Problems) -> Any:
    """Plain data; INVALID as a whole when a part can't be JSON."""
    if value is None or value is INVALID or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    if isinstance(value, str):
        return str(value)
    if isinstance(value, list):
        items = [_json(item, f"{path}[{index}]", problems) for index, item in enumerate(value)]
        return INVALID if any(item is INVALID for item in items) else items
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        parts = {str(key): _json(item, path, problems) for key, item in value.items()}
        return INVALID if any(item is INVALID for item in parts.values()) else parts
    return wrong_type(value, "what JSON has: text, numbers, true, false, null, lists and mappings", path, problems)
