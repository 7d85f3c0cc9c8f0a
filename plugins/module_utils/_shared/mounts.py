# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The mounts file: who gets which directory of the host, where in the container and in which mode.

docs/reference/hub-mounts.md describes the format. The module group_mounts writes it and a hub's spawn hook reads it at
every spawn.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from ansible_collections.carrel.jupyter.plugins.module_utils._shared.escape import escape
from ansible_collections.carrel.jupyter.plugins.module_utils._shared.told import Told

VERSION = 1


class MountsError(Told):
    """The file cannot be used, or somebody would get two mounts on one target."""


class Mount(NamedTuple):
    source: str
    target: str
    mode: str  # ro or rw
    why: str

    def __str__(self) -> str:
        return f"{self.target} {self.mode} {self.source} ({self.why})"

    def docker(self) -> dict[str, Any]:
        """An entry of DockerSpawner.mounts."""
        return {"type": "bind", "source": self.source, "target": self.target, "read_only": self.mode == "ro"}


class Mounts:
    """A mounts file that has been read."""

    def __init__(self, content: Mapping[str, Any]) -> None:
        if content.get("version") != VERSION:
            raise MountsError(f"the mounts file has version {content.get('version')!r}, this program reads {VERSION}")
        try:
            self.user: list[dict[str, str]] = content["user"]
            self.admins = frozenset(content["admins"])
            self.everyone: list[dict[str, str]] = content["everyone"]
            self.groups: dict[str, list[dict[str, str]]] = {}
            self.roles: dict[str, dict[str, str]] = {}  # a user's, by group
            for name, group in content["groups"].items():
                self.groups[name] = group["mounts"]
                for role in ("members", "admins"):
                    for member in group[role]:
                        self.roles.setdefault(member, {})[name] = role
        except (KeyError, TypeError, AttributeError) as error:
            raise MountsError(f"the mounts file is damaged: {error!r}") from error

    def effective(self, user: str, groups: Iterable[str] = ()) -> list[Mount]:
        """All mounts of a user, sorted by target. GROUPS adds memberships that the file does not have."""
        directory = escape(user)
        found: dict[str, Mount] = {}
        for entry in self.user:
            own = Mount(entry["source"].replace("{username}", directory), entry["target"], "rw", "the user's own")
            _add(found, own, user)
        admin = user in self.admins
        _add_all(found, self.everyone, user, "admins" if admin else "members", "admin" if admin else "everyone")
        roles = {**dict.fromkeys(self.groups.keys() & set(groups), "members"), **self.roles.get(user, {})}
        for name, role in sorted(roles.items()):
            _add_all(found, self.groups[name], user, role, f"{role[:-1]} of {name}")
        return sorted(found.values(), key=lambda mount: mount.target)


def _add_all(found: dict[str, Mount], entries: list[dict[str, str]], user: str, role: str, why: str) -> None:
    for entry in entries:
        if entry[role] != "none":
            _add(found, Mount(entry["source"], entry["target"], entry[role], why), user)


def _add(found: dict[str, Mount], mount: Mount, user: str) -> None:
    other = found.get(mount.target)
    if other is not None and other.source != mount.source:
        raise MountsError(
            f"the user {user!r} would get two mounts on {mount.target}: {other.source} ({other.why}) and "
            f"{mount.source} ({mount.why}): give one of them another target"
        )
    # Through two groups, one directory is writable if one of them may write.
    if other is None or (other.mode, mount.mode) == ("ro", "rw"):
        found[mount.target] = mount


def read_mounts(text: str) -> Mounts:
    try:
        content = json.loads(text)
    except ValueError as error:
        raise MountsError(f"the mounts file is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise MountsError("the mounts file is damaged: it is not a mapping")
    return Mounts(content)


def effective_mounts(text: str, user: str, groups: Iterable[str] = ()) -> list[Mount]:
    """What a user gets, from the text of a mounts file."""
    return read_mounts(text).effective(user, groups)
