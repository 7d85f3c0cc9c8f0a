# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From users, groups and their mounts to the mounts file, with everything that is wrong with them."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._plan.nearest import nearest
from ansible_collections.carrel.jupyter.plugins.module_utils._shared.escape import username_problem
from ansible_collections.carrel.jupyter.plugins.module_utils._shared.mounts import VERSION, Mount, Mounts, MountsError

USERS = "users"
HUBS = ("hub", "database")  # backups have these as a dump of the database
SHOWN = 20
# DockerSpawner fills in what stands in braces.
_BAD = re.compile(r"[{}\x00-\x1f\x7f]")
_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


class Plan:
    """What the file says, which directories it needs, and the problems."""

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        self.problems: list[str] = []
        self.sources: set[str] = set()
        self.limits: dict[str, int] = {}  # bytes, by source
        self._path: str = parameters["path"].rstrip("/")
        self._home: str = parameters["home"].rstrip("/")
        self._allowed = [self._home, *(target.rstrip("/") for target in parameters["targets"])]
        self._check_paths(parameters)
        self.users = self._read_users(parameters)
        self.content = {
            "version": VERSION,
            "user": [self._own(entry) for entry in parameters["user_directories"]],
            "everyone": self._everyone(parameters),
            "admins": sorted(user["name"] for user in parameters["users"] if user["admin"]),
            "groups": self._groups(parameters),
        }
        self._check_nesting()
        self.effective: dict[str, list[Mount]] = {} if self.problems else self._effective()

    def message(self) -> str:
        more = len(self.problems) - SHOWN
        return "\n".join(self.problems[:SHOWN] + ([f"and {more} more"] if more > 0 else []))

    def _near(self, word: str, known: Iterable[str]) -> str:
        near = nearest(word, known) if len(self.problems) < SHOWN else None
        return f": did you mean {near!r}?" if near else ""

    def _check_paths(self, parameters: Mapping[str, Any]) -> None:
        for key, value in [("path", self._path), ("file", parameters["file"]), ("home", self._home)] + [
            ("targets", target) for target in self._allowed[1:]
        ]:
            if not value.startswith("/") or value != posixpath.normpath(value) or _BAD.search(value):
                self.problems.append(
                    f"{key}: {value or '/'} must be an absolute path below /, without . and .. and braces"
                )
        if parameters["file"].startswith(self._path + "/"):
            self.problems.append(f"file: {parameters['file']} lies in the data that containers get: put it elsewhere")

    def _read_users(self, parameters: Mapping[str, Any]) -> list[str]:
        names: set[str] = set()
        if not parameters["users"] and not parameters["allow_empty"]:
            self.problems.append("the list of users is empty: if that is intended, set allow_empty: true")
        for user in parameters["users"]:
            problem = username_problem(user["name"])
            if problem:
                self.problems.append(problem)
            elif user["name"] in names:
                self.problems.append(f"the user {user['name']!r} is in the list twice")
            names.add(user["name"])
        return sorted(names)

    def _groups(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        known = set(self.users)
        found: dict[str, Any] = {}
        for group in parameters["groups"]:
            name = group["name"]
            if not _PART.fullmatch(name):
                self.problems.append(
                    f"the group {name!r} must be a plain name of at most 63 letters, digits, dots, _ and -"
                )
                continue
            if name in found:
                self.problems.append(f"the group {name!r} is in the list twice")
            for role in ("members", "admins"):
                for user in group[role]:
                    if user not in known:
                        hint = self._near(user, known)
                        self.problems.append(f"the group {name!r} has {user!r}, who is not among the users{hint}")
            mounts = group["mounts"]
            if mounts is None:
                mounts = [{"source": f"groups/{name}", "target": None, "members": "rw", "admins": "rw"}]
            found[name] = {
                "members": set(group["members"]),
                "admins": sorted(set(group["admins"])),
                "mounts": [self._mount(f"the group {name!r}", **mount) for mount in mounts],
            }
        for user in parameters["users"]:
            for name in user["groups"]:
                if name in found:
                    found[name]["members"].add(user["name"])
                else:
                    hint = self._near(name, found)
                    self.problems.append(f"the user {user['name']!r} is in the unknown group {name!r}{hint}")
        for group in found.values():
            group["members"] = sorted(group["members"])
        return found

    def _everyone(self, parameters: Mapping[str, Any]) -> list[dict[str, str]]:
        found = []
        for name, members in (("shared", "ro"), ("colab", "rw")):
            if parameters[name]:
                found.append(self._mount(name, name, None, members, "rw"))
        if parameters["users_view"] != "none":
            found.append({
                "source": f"{self._path}/{USERS}", "target": f"{self._home}/{USERS}",
                "members": "none", "admins": parameters["users_view"],
            })  # fmt: skip
        return found

    def _mount(
        self, whose: str, source: str, target: str | None, members: str, admins: str, disk: int | None = None
    ) -> dict[str, str]:
        relative = source
        if source.startswith("/"):
            if not source.startswith(self._path + "/"):
                self.problems.append(f"{whose}: the source {source} is outside of the instance's data, {self._path}")
            relative = source[len(self._path) + 1 :]
        parts = relative.split("/")
        if not all(_PART.fullmatch(part) for part in parts):
            self.problems.append(f"{whose}: the source {source!r} must be a plain path below {self._path}")
        elif parts[0] == USERS:
            self.problems.append(f"{whose}: the source {source!r} has users' own files: only users_view shows them")
        elif parts[0] in HUBS:
            self.problems.append(f"{whose}: the source {source!r} is a folder of the hub itself: choose another name")
        else:
            self.sources.add(relative)
            self.limits[relative] = max(disk or 0, self.limits.get(relative, 0))
        there = self._target(whose, relative if target is None else target)
        return {"source": f"{self._path}/{relative}", "target": there, "members": members, "admins": admins}

    def _target(self, whose: str, target: str, anywhere: bool = False) -> str:
        path = posixpath.join(self._home, target)
        if path != posixpath.normpath(path) or _BAD.search(path):
            self.problems.append(f"{whose}: the target {target!r} must be a plain path without . and .. and braces")
        elif not anywhere and not any(path.startswith(root + "/") for root in self._allowed):
            self.problems.append(
                f"{whose}: the target {target} is outside of the home, {self._home}: add its folder to targets"
            )
        return path

    def _own(self, entry: Mapping[str, str]) -> dict[str, str]:
        name = entry["name"]
        if not _PART.fullmatch(name):
            self.problems.append(f"user_directories: {name!r} must be a plain name")
        target = self._home if entry["target"] == "." else self._target("user_directories", entry["target"], True)
        if target == "/":
            self.problems.append("user_directories: nothing can be mounted on /")
        return {"source": f"{self._path}/{USERS}/{{username}}/{name}", "target": target}

    def _check_nesting(self) -> None:
        """What users can write in must not hold directories that root makes."""
        for source in sorted(self.sources):
            above = posixpath.dirname(source)
            while above:
                if above in self.sources:
                    self.problems.append(f"the source {source} lies in the source {above}: put them side by side")
                above = posixpath.dirname(above)

    def _effective(self) -> dict[str, list[Mount]]:
        mounts = Mounts(self.content)
        found = {}
        for user in self.users:
            try:
                found[user] = mounts.effective(user)
            except MountsError as error:
                self.problems.append(str(error))
                continue
            read_only = [mount.target for mount in found[user] if mount.mode == "ro"]
            for mount in found[user]:
                for above in read_only:
                    if mount.target.startswith(above + "/"):
                        self.problems.append(
                            f"the user {user!r} would get {mount.target} inside of {above}, which is read-only, "
                            "so that Docker cannot create the mount point: give it another target"
                        )
        return found
