# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may use a hub: users of the inventory and of CSV files, their groups, and the limits that count for each."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._plan.hub_authenticator import Authenticator
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.hub_keys import Hub
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.hub_values import Group, User
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.instance import ControlNode, read_file
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.limits import LIMITS, settled
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.nearest import nearest
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.problems import Problems, show
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.roster import read_roster
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.schema import INVALID, given, known
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.shorten import some
from ansible_collections.carrel.jupyter.plugins.module_utils._shared.escape import hidden, username_problem, visible
from ansible_collections.carrel.jupyter.plugins.module_utils._shared.passwords import is_other_hash
from ansible_collections.carrel.jupyter.plugins.module_utils._shared.usernames import GROUP, normalize_below

# A search takes milliseconds with a thousand names.
_HINTS = 10
# In bytes: NativeAuthenticator hashes passwords with bcrypt, which takes no more.
_LONGEST_PASSWORD = 72
_SHORTEST_PASSWORD = 8
SERVER_PREFIX = "group-"


class People:
    """Checks users and groups, and fills in a hub's people and teams."""

    def __init__(self, hub: Hub, control: ControlNode, problems: Problems) -> None:
        self._hub = hub
        self._problems = problems
        self._hints = 0
        # False: some users could not be read, so a name in a group that is not listed may be one of them.
        self._complete = given(hub.users) and given(hub.users_csv) and INVALID not in hub.users_csv
        # Names whose problem is reported, and words of lines that cannot be read, which may be names.
        self._bad: set[str] = set()
        self._doubtful: set[str] = set()
        self._authenticator: Authenticator | None = hub.authenticator if given(hub.authenticator) else None
        self._groups: dict[str, Group] = hub.groups if given(hub.groups) else {}
        users = [*(hub.users if given(hub.users) else []), *self._rosters(control)]
        self._users = self._named(users)
        self._add_servers()
        self._bad_folded = {_folded(name) for name in self._bad}
        if not users and self._complete and not self._doubtful and hub.allow_no_users is False:
            problems.add(f"{hub.path}.users", "users_empty")
        self._check_users(users)
        hub.blocked_identities = [name for name in known(hub.blocked_users) if given(name)]
        hub.blocked_users = self._blocked()
        members = self._members()
        self._groups_of: dict[str, list[Group]] = {}
        for group_name, roles in members.items():
            for name in roles["members"] | roles["admins"]:
                self._groups_of.setdefault(name, []).append(self._groups[group_name])
        self._limits = hub.limits if given(hub.limits) else dict.fromkeys(LIMITS)
        self._check_swap()
        self._check_gpus()
        held = {name for name, user in self._users.items() if user.state == "held"} - self._bad
        out = held | self._bad
        hub.people = [self._person(name, user) for name, user in sorted(self._users.items()) if name not in out]
        hub.held_users = [{"name": name, "identity": self._users[name].name} for name in sorted(held)]
        hub.blocked_users = sorted({*hub.blocked_users, *held})
        hub.blocked_identities = sorted({*hub.blocked_identities, *(user["identity"] for user in hub.held_users)})
        hub.teams = [
            {
                "name": name,
                "members": sorted(members[name]["members"] - out),
                "admins": sorted(members[name]["admins"] - out),
                "mounts": group.mounts,
            }
            for name, group in sorted(self._groups.items())
        ]
        self._warn()

    def _add(self, path: str, message_id: str, **fields: object) -> None:
        self._problems.add(path, message_id, **fields)

    def _near(self, word: str, known: Iterable[str]) -> str:
        self._hints += 1
        near = nearest(word, known) if self._hints <= _HINTS else None
        return f"; did you mean {show(near)}?" if near else ""

    def _is_native(self, name: str) -> bool:
        own = self._authenticator and self._authenticator.of(name)
        return own is not None and own.type == "native"

    def _name(self, raw: str) -> str:
        if self._hub.normalize_usernames is not True:
            return raw
        each = self._authenticator.each if self._authenticator else []
        return normalize_below(raw, [one.public["prefix"] for one in each])

    def _rosters(self, control: ControlNode) -> list[User]:
        hub, users = self._hub, []
        path = f"{hub.path}.users_csv"
        for file in known(hub.users_csv):
            text = read_file(path, file, "roster_file", control, self._problems)
            if text is None:
                self._complete = False
                continue
            roster = read_roster(text, path, file, self._problems)
            self._doubtful |= roster.doubtful
            users += roster.users
            if roster.passwords:
                hub.warnings.append(f"{file} holds passwords in plain text; keep them in a vault, in users")
        return users

    def _named(self, users: Sequence[User]) -> dict[str, User]:
        """Return users by the names that they will have in JupyterHub."""
        found: dict[str, User] = {}
        for user in users:
            if user.name is INVALID:
                self._complete = self._complete and user.rendered
                continue
            name = self._name(user.name)
            problem = self._problem(user.name, name)
            other = found.setdefault(name, user)
            if problem:
                self._bad.add(name)
                self._add(user.path, "user_name", problem=problem)
            if other is not user and other.name == user.name:
                self._add(user.path, "user_twice", value=show(name), other=other.path)
            elif other is not user:
                self._add(
                    user.path, "user_collision", value=show(user.name), first=show(other.name), other=other.path,
                    name=show(name),
                )  # fmt: skip
        for name in self._bad:
            better = _better(name, self._is_native(name))
            if better in found and better not in self._bad:
                self._add(found[name].path, "user_twice", value=show(better), other=found[better].path)
        return found

    def _add_servers(self) -> None:
        """Add the users to whom the servers of groups belong. They are members, so they get what members get."""
        for group_name, group in self._groups.items():
            if group.server is not True or not group.good:
                continue
            name = f"{SERVER_PREFIX}{group_name.lower()}"
            server = User(f"{group.path}.server", f"{GROUP}{group_name}", groups=[group_name], server_of=group_name)
            other = self._users.setdefault(name, server)
            if other is not server:
                self._add(f"{group.path}.server", "group_server", name=show(name), other=other.path)

    def _problem(self, raw: str, name: str) -> str | None:
        unseen = hidden(raw)  # first, because normalizing may remove such characters
        if unseen:
            return f"the user {show(raw)} {unseen}"
        # NativeAuthenticator.validate_username does the same.
        if self._is_native(name) and {",", " "} & set(name.strip()):
            better = _better(name, self._is_native(name))
            hint = f": write {show(better)}" if better else ""
            problem: str | None = (
                f"the user {show(name)} has a comma or a space in the name, which NativeAuthenticator refuses{hint}"
            )
        else:
            problem = username_problem(name)
        return f"{show(raw)} becomes {show(name)}: {problem}" if problem and name != raw else problem

    def _check_users(self, users: Sequence[User]) -> None:
        authenticator = self._authenticator
        for user in users:
            for group in known(user.groups) if given(self._hub.groups) else []:
                if group in self._groups and not self._groups[group].good:
                    self._add(f"{user.path}.groups", "group_name", value=show(group))
                elif group not in self._groups:
                    hint = self._near(group, self._groups)
                    self._add(f"{user.path}.groups", "user_group", value=show(group), hint=hint)
            if authenticator is None or (authenticator.each and not given(user.name)):
                continue
            own = authenticator.of(self._name(user.name)) if authenticator.each else authenticator
            if own is None:
                prefixes = ", ".join(one.public["prefix"] for one in authenticator.each)
                self._add(user.path, "user_provider", value=show(self._name(user.name)), prefixes=prefixes)
            if own is None or not given(user.password):
                continue
            if own.type != "native":
                self._add(f"{user.path}.password", "password_not_native", type=own.type)
            elif is_other_hash(user.password):
                self._add(f"{user.path}.password", "password_hash")
            elif len(user.password) < _SHORTEST_PASSWORD:
                self._add(f"{user.path}.password", "password_short", shortest=_SHORTEST_PASSWORD)
            elif len(user.password.encode()) > _LONGEST_PASSWORD:
                self._add(f"{user.path}.password", "password_long", longest=_LONGEST_PASSWORD)

    def _blocked(self) -> list[str]:
        hub = self._hub
        found = set()
        for index, raw in enumerate(hub.blocked_users if given(hub.blocked_users) else []):
            if raw is INVALID:
                continue
            path = f"{hub.path}.blocked_users[{index}]"
            name = self._name(raw)
            problem = self._problem(raw, name)
            if problem:
                self._add(path, "user_name", problem=problem)
            elif name in self._users:
                self._add(path, "user_blocked", value=show(raw), other=self._users[name].path)
            found.add(name)
        return sorted(found)

    def _members(self) -> dict[str, dict[str, set[str]]]:
        found: dict[str, dict[str, set[str]]] = {}
        for name, group in self._groups.items():
            found[name] = {"members": set(), "admins": set()}
            for role, people in found[name].items():
                raw_names = getattr(group, role)
                for index, raw in enumerate(raw_names if given(raw_names) else []):
                    if raw is INVALID:
                        continue
                    user, path = self._name(raw), f"{group.path}.{role}[{index}]"
                    of = self._users[user].server_of if user in self._users else None
                    if of is not None:
                        self._add(path, "group_of_server", value=show(raw), group=show(of))
                    elif user in self._users:
                        people.add(user)
                    if user in self._bad:
                        self._add(path, "user_name", problem=self._problem(raw, user))
                    elif user not in self._users and self._complete and not self._is_doubtful(user):
                        self._add(path, "group_user", value=show(raw), hint=self._near(user, self._users))
        for name, written in self._users.items():
            for group_name in known(written.groups):
                if group_name in found:
                    found[group_name]["members"].add(name)
        return found

    def _is_doubtful(self, user: str) -> bool:
        """Whether the name may be that of a user whose problem is reported already."""
        return user in self._doubtful or _folded(user) in self._bad_folded

    def _limit(self, name: str, key: str) -> Any:
        groups = (group.limits.get(key) for group in self._groups_of.get(name, []))
        return settled(self._users[name].limits.get(key), filter(given, groups), self._limits[key])

    def _place(self, name: str, key: str) -> str:
        """Return the path of the key that sets the limit."""
        user = self._users[name]
        groups = [group for group in self._groups_of.get(name, []) if given(group.limits.get(key))]
        if key in user.limits or not groups:
            return user.path if key in user.limits else f"{self._hub.path}.limits"
        return max(groups, key=lambda group: group.limits[key]).path

    def _check_swap(self) -> None:
        alone = {f"{self._hub.path}.limits"} if self._limits["swap"] and not self._limits["memory"] else set()
        for name in self._users:
            swap = self._limit(name, "swap")
            if given(swap) and swap and self._limit(name, "memory") is None:
                alone.add(self._place(name, "swap"))
        for path in sorted(alone):
            self._add(f"{path}.swap", "swap_alone")

    def _check_gpus(self) -> None:
        if not given(self._hub.gpu_devices):
            return
        count = len(self._hub.gpu_devices)
        wanted = {f"{self._hub.path}.limits": self._limits}
        wanted.update({group.path: group.limits for group in self._groups.values()})
        wanted.update({user.path: user.limits for user in self._users.values()})
        for path, limits in wanted.items():
            gpus = limits.get("gpus")
            if gpus is not None and gpus is not INVALID and gpus > count:
                self._add(f"{path}.gpus", "gpus_few", value=gpus, count=count)

    def _person(self, name: str, user: User) -> dict[str, Any]:
        limits = {key: self._limit(name, key) for key in LIMITS}
        return {
            "name": name,
            "identity": user.name,
            "admin": user.admin,
            "password": user.password,
            "server_of": user.server_of,
            **limits,
            "swap": limits["swap"] or None,
        }

    def _warn(self) -> None:
        hub = self._hub
        if hub.normalize_usernames is True:
            again = [name for name, user in sorted(self._users.items()) if user.name == name and "--" in name]
            if again:
                hub.warnings.append(
                    f"{some(again, 5)} can't log in if that is a normalized name: write it as the authenticator has it"
                )
        single = self._authenticator.single if self._authenticator else []
        if any(one.type == "dummy" for one in single):
            hub.warnings.append("anybody who knows the authenticator's one password can log in as any user")
        if any(one.public.get("username_claim") == "email" for one in single):
            hub.warnings.append(
                "username_claim: email makes the address the name, so the provider must verify them, and never give"
                " one to two people"
            )
        native = next((one for one in single if one.type == "native"), None)
        if native is None:
            return
        if native.public["signup"]:
            if not any(
                user.admin is True and (user.password is not None or not self._is_native(name))
                for name, user in self._users.items()
            ):
                hub.warnings.append("people can sign up, but no admin could approve them: give an admin a password")
            return
        people = [user for user in hub.people if self._is_native(user["name"]) and user["server_of"] is None]
        outside = [user["name"] for user in people if user["password"] is None]
        if outside:
            hub.warnings.append(f"{some(outside, 5)} can't log in: there is neither a password nor signup: true")


def _better(name: str, native: bool) -> str | None:
    """Suggest a valid name for an invalid one."""
    better = visible(name).strip().lower()
    if native:
        better = re.sub("[ ,]+", "-", better.strip(" ,"))
    return better if better != name and username_problem(better) is None else None


def _folded(name: str) -> str:
    return re.sub(r"[\W_]+", "", name.lower())
