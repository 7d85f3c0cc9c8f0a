# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys of a hub whose values are mappings or lists of mappings, with the keys in these."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._plan import parts, types, values
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.key import Key, Type, filled, mapping_of, record_of
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.limits import LIMITS
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.problems import Problems, kind_of, show
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.schema import (
    INVALID,
    Invalid,
    given,
    has_control,
    json_data,
    listing,
    read,
    text,
    wrong_type,
)
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.types import DAY

POSTGRES = "docker.io/library/postgres:17"

LIMITS_TYPE = Type(record_of(LIMITS), "a mapping", "2G", "dict", keys=LIMITS)


@dataclasses.dataclass
class User:
    """A user as written. A field is INVALID when a problem with it is reported already."""

    path: str
    name: Any = None
    # False: a template failed, so the name may be any.
    rendered: bool = True
    admin: Any = False
    groups: Any = dataclasses.field(default_factory=list)
    password: Any = None
    state: Any = "present"
    limits: dict[str, Any] = dataclasses.field(default_factory=dict)
    server_of: str | None = None  # the group, if this is no person


def reserved(variable: str) -> str | None:
    """Say what to do about a variable that JupyterHub sets for every server."""
    return "leave it out" if variable.startswith("JUPYTERHUB_") else None


_user_name = text("a name in quotes")
USER: dict[str, Key] = {
    "name": Key(
        types.text("a name in quotes"),
        "Name of the user at the authenticator.",
        example="ada",
        needed="the user's name, as the authenticator has it",
    ),
    "groups": Key(
        types.listing(types.text("a group's name"), "a list of groups", "a list of groups"),
        "Groups of the user.",
        example=["statistics"],
        default=[],
    ),
    "admin": Key(types.BOOLEAN, "Whether the user is an admin of the hub.", example=True, default=False),
    "password": Key(
        types.SECRET,
        "First password or its bcrypt hash (cost 4 to 15), with the authenticator native; at least 8 characters and at "
        "most 72 bytes.",
        example="{{ vault_prof_password }}",
        secret=True,
    ),
    "state": Key(
        types.choice("present", "held"),
        "Whether the user may log in; held: not for now, and the folders stay where they are.",
        example="held",
        default="present",
    ),
    **LIMITS,
}
_user = mapping_of(USER)


def _split(keys: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys that are given, with the limits as one key."""
    found = {key: item for key, item in keys.items() if item is not None}
    limits = {key: found.pop(key) for key in LIMITS if key in found}
    return {**found, "limits": limits}


def read_user(value: Any, path: str, problems: Problems) -> User:
    if isinstance(value, str):
        return User(path, _user_name(value, path, problems))
    keys = read(_user, value, path, problems)
    rendered = value is not INVALID and not (isinstance(value, Mapping) and INVALID in value.values())
    if isinstance(keys, Invalid):
        return User(path, INVALID, rendered)
    if keys.get("name") is None:
        problems.add(f"{path}.name", "missing", wanted=USER["name"].needed)
        keys["name"] = INVALID
    return User(path, rendered=rendered, **_split(keys))


def users(value: Any, path: str, problems: Problems) -> list[User] | Invalid:
    if not isinstance(value, list):
        return wrong_type(value, "a list of names or of mappings with name, groups, admin, ...", path, problems)
    return [read_user(item, f"{path}[{index}]", problems) for index, item in enumerate(value)]


def files(kind: str) -> Type:
    """Return the type of one path of the control node, or several."""
    paths = listing(text(f"the path of {kind}"), f"the path of {kind}, or a list of paths")

    def reader(value: Any, path: str, problems: Problems) -> list[str] | Invalid:
        result: list[str] | Invalid = paths([value] if isinstance(value, str) else value, path, problems)
        return result

    return Type(reader, "a path or a list of paths", 1, "list", "str")


@dataclasses.dataclass
class Group:
    path: str
    good: bool = True  # whether the name is valid
    members: Any = dataclasses.field(default_factory=list)
    admins: Any = dataclasses.field(default_factory=list)
    mounts: Any = None
    provider_groups: Any = dataclasses.field(default_factory=list)
    egress: Any = None
    server: Any = False
    limits: dict[str, Any] = dataclasses.field(default_factory=dict)


_MODE = types.choice("none", "ro", "rw")
MOUNT: dict[str, Key] = {
    "source": Key(
        types.text("a folder below the instance's data"),
        "Folder below /srv/NAME/data, but not in its users, hub or database; made if it is missing.",
        example="groups/statistics",
        needed="a folder below the instance's data, for example groups/statistics",
    ),
    "target": Key(
        types.text("a folder"),
        "Its place in the container, relative to the home, or absolute and then in one of targets.",
        example="/opt/tiles",
        unset="as source",
    ),
    "members": Key(_MODE, "Access of members.", example="ro", default="rw"),
    "admins": Key(_MODE, "Access of the group's admins.", example="ro", default="rw"),
    "disk": Key(
        types.size(1 << 20, 64 << 40, "1M", "64T"),
        "Limit of the folder on disk, where the file system has project quotas; of several, the largest counts.",
        example="100G",
        unset="no limit",
    ),
}
_mount = record_of(MOUNT)


def read_mount(value: Any, path: str, problems: Problems) -> dict[str, Any] | Invalid:
    keys = _mount(value, path, problems)
    return keys if isinstance(keys, Invalid) else filled(MOUNT, keys)


_NAMES = types.listing(types.text("a name in quotes"), "a list of names", "a list of names")
GROUP: dict[str, Key] = {
    "members": Key(_NAMES, "Members of the group.", example=["ada"], default=[]),
    "admins": Key(
        _NAMES,
        "Admins of the group, who may have more rights in its folders than members.",
        example=["prof"],
        default=[],
    ),
    "mounts": Key(
        types.listing(
            Type(read_mount, "a mapping", "groups/statistics", "dict", keys=MOUNT),
            "a list of {source, target}",
            "a list of mappings",
        ),
        "Folders of the group.",
        example=[{"source": "datasets/tiles", "target": "/opt/tiles", "members": "ro"}],
        unset="groups/NAME, writable for all of it",
    ),
    "provider_groups": Key(
        types.listing(types.text("a group's name at the provider"), "a list of names", "a list of names"),
        "Groups of the identity provider; their members join this group at their next log-in.",
        example=["cn=statistics,ou=groups,dc=uni,dc=example"],
        default=[],
    ),
    "egress": Key(
        parts.EGRESS_TYPE,
        "Where members' containers may connect to; with several groups, to all that one of them allows.",
        example={"allow": ["0.0.0.0/0"]},
        unset="the hub's egress",
    ),
    "server": Key(
        types.BOOLEAN,
        "Whether the group has a server, in which members and admins work together; needs user_domains.",
        example=True,
        default=False,
    ),
    **LIMITS,
}
_group = mapping_of(GROUP)


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
        keys = {} if item is None else read(_group, item, here, problems)
        result[str(name)] = Group(here, good=bool(good), **({} if isinstance(keys, Invalid) else _split(keys)))
    return result


CULLER: dict[str, Key] = {
    "idle_seconds": Key(
        types.whole(0, 366 * DAY),
        "How long a server may be idle before it is stopped; 0: it is never stopped.",
        example=7200,
        default=3600,
    ),
    "max_age_seconds": Key(
        types.whole(0, 366 * DAY),
        "How long after its start a server is stopped, idle or not; 0: it is never stopped.",
        example=86400,
        default=0,
    ),
    "every_seconds": Key(types.whole(1, DAY), "How often the hub checks.", example=60, default=300),
}
_culler = mapping_of(CULLER)


def culler(value: Any, path: str, problems: Problems) -> dict[str, int] | Invalid:
    keys = _culler(value, path, problems)
    return INVALID if isinstance(keys, Invalid) or INVALID in keys.values() else filled(CULLER, keys)


IMAGE_CHOICE: dict[str, Key] = {
    "title": Key(
        types.text("a title for the list of images"),
        "Title that users see.",
        example="With SciPy",
        needed="a title for the list of images",
    ),
    "image": Key(
        parts.IMAGE_TYPE,
        "Image of their containers, with jupyterhub of the hub's version, 6.",
        example="registry.example.org/scipy:1.0",
        needed="an image reference",
    ),
}
_images = listing(record_of(IMAGE_CHOICE), "a list of {title, image}")


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


DATABASE: dict[str, Key] = {
    "type": Key(
        types.choice("sqlite", "postgresql"),
        "Type of the database.",
        example="postgresql",
        needed="sqlite or postgresql",
    ),
    "image": Key(types.IMAGE, "Image of PostgreSQL.", example="docker.io/library/postgres:17", unset=POSTGRES),
}
_database = record_of(DATABASE)


def database(value: Any, path: str, problems: Problems) -> dict[str, str | None] | Invalid:
    keys = _database({"type": value} if isinstance(value, str) else value, path, problems)
    if isinstance(keys, Invalid):
        return keys
    if keys["type"] == "sqlite" and keys["image"]:
        problems.add(f"{path}.image", "database_image")
    elif given(keys["image"]) and not values.has_tag_or_digest(keys["image"]):
        problems.add(f"{path}.image", "image_tag")
    return {"type": keys["type"], "image": (keys["image"] or POSTGRES) if keys["type"] == "postgresql" else None}


def settings(value: Any, path: str, problems: Problems) -> dict[str, Any] | Invalid:
    if not isinstance(value, Mapping):
        return wrong_type(
            value, 'a mapping, for example {"@jupyterlab/apputils-extension:themes": {theme: ...}}', path, problems
        )
    result: dict[str, Any] = {}
    valid = True
    for plugin, item in value.items():
        # Names of JupyterLab's settings consist of an npm package, a colon and a plugin.
        if not isinstance(plugin, str) or not re.fullmatch(r"(?:@[a-z0-9._-]+/)?[a-z0-9._-]+:[\w.-]+", plugin):
            problems.add(path, "settings_plugin", value=show(plugin) if isinstance(plugin, str) else kind_of(plugin))
            valid = False
        elif isinstance(item, Mapping):
            result[str(plugin)] = json_data(item, f"{path}.{plugin}", problems)
        else:
            result[str(plugin)] = (
                INVALID
                if item is INVALID
                else wrong_type(item, "a mapping of the plugin's settings", f"{path}.{plugin}", problems)
            )
    return result if valid and INVALID not in result.values() else INVALID


USERS_TYPE = Type(users, "a list of names or mappings", "ada", "list", "dict", keys=USER)
GROUPS_TYPE = Type(groups, "names and mappings", ["statistics"], "list", "dict", keys=GROUP)
CULLER_TYPE = Type(culler, "a mapping", 3600, "dict", keys=CULLER)
IMAGES_TYPE = Type(images, "a list of mappings", [], "list", "dict", keys=IMAGE_CHOICE)
DATABASE_TYPE = Type(database, "sqlite, postgresql, or a mapping", "mysql", "dict", keys=DATABASE)
