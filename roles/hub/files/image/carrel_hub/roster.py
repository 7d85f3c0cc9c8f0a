# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A service of the hub that applies the roster: it creates listed users and groups and deletes others.

To delete a user stops the server, and ends all sessions and tokens (JupyterHub's API).
"""

from __future__ import annotations

import json
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

from . import files, owners, provider_groups
from .files import DIRECTORY, Unusable, read_json, read_state, write_state
from .people import Roster, read_roster

SECONDS = 1.0
# The hub answers nobody else during a call. Small calls with pauses let it answer others in between.
USERS_AT_ONCE, MEMBERS_AT_ONCE, PAGE = 10, 50, 100
PAUSE = 0.05
REPEAT = 60.0  # also without a change, for users who could not be deleted, and accounts made by hand


def changes(
    roster: Roster, existing: Iterable[str], listed_before: Iterable[str], guests: bool, known: dict[str, str]
) -> tuple[set[str], set[str]]:
    """Return the users to create and to delete. With GUESTS, people who were never listed may be users, too.

    KNOWN is whose the names were. A user whose name is somebody else's now is deleted, then created.
    """
    there = set(existing)
    listed = {name for name in roster.users if roster.lists(name)}
    gone = there - listed
    if guests:
        gone &= set(listed_before) | roster.blocked
    # Somebody may have signed up with the name of a group's server before there was one, and still be logged in.
    others = owners.others(roster, known) | (set(roster.servers().values()) - known.keys())
    return listed - there | others, gone | others & there


def memberships(
    roster: Roster, existing: Mapping[str, Iterable[str]], more: Mapping[str, set[str]] = MappingProxyType({})
) -> tuple[dict[str, set[str]], dict[str, set[str]], set[str]]:
    """Return users to add to groups, which may be new, users to remove from groups, and groups to delete.

    MORE has members of groups from the identity provider.
    """
    wanted = {group: {name for name in names if roster.lists(name)} for group, names in roster.groups.items()}
    for group, names in more.items():
        wanted[group] = wanted.get(group, set()) | names
    there = {group: set(names) for group, names in existing.items()}
    into = {group: names - there.get(group, set()) for group, names in wanted.items()}
    out = {group: there[group] - names for group, names in wanted.items() if group in there}
    into = {group: names for group, names in into.items() if names or group not in there}
    return into, {group: names for group, names in out.items() if names}, there.keys() - wanted.keys()


def left_groups(
    roster: Roster, before: Mapping[str, set[str]], named: Mapping[str, Iterable[str]], deleted: set[str]
) -> set[str]:
    """Return the groups that somebody has left.

    BEFORE has the members until now, NAMED those whom the inventory named until now, DELETED the users to delete.
    Otherwise nobody is known to have left a group of the identity provider: a member is also taken out a day after the
    last log-in.
    """
    _into, out, gone = memberships(roster, before)
    return {
        group
        for group, members in before.items()
        if (group in gone and members)
        or members & deleted
        or set(named.get(group, ())) - set(roster.groups.get(group, ()))
        or (group in out and group not in roster.provider_groups)
    }


def to_stop(hub: Hub, roster: Roster, groups: set[str], deleted: set[str]) -> set[str]:
    """Return the servers that people have left with GROUPS or with the hub: open pages would keep their connections."""
    places = [f"groups/{quote(name, safe='')}" for name in sorted(groups)]
    places += [f"users/{quote(name, safe='')}" for name in sorted(deleted)]
    shared = {share["server"]["user"]["name"] for place in places for share in hub.all(f"{place}/shared")}
    return shared | {server for group, server in roster.servers().items() if group in groups}


def parts(names: Iterable[str], most: int) -> Iterator[list[str]]:
    ordered = sorted(names)
    for first in range(0, len(ordered), most):
        yield ordered[first : first + most]


class Hub:
    """The calls of the hub's API that are needed here."""

    def __init__(self, url: str, token: str) -> None:
        self.url = url
        self.token = token

    def call(self, method: str, path: str, body: Any = None) -> Any:
        headers = {"Authorization": f"token {self.token}", "Accept": "application/jupyterhub-pagination+json"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers, method=method)  # noqa: S310
        with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310
            text = response.read()
        time.sleep(PAUSE)
        return json.loads(text) if text else None

    def all(self, what: str) -> Iterator[Any]:
        offset: int | None = 0
        while offset is not None:
            page = self.call("GET", f"/{what}?limit={PAGE}&offset={offset}")
            yield from page["items"]
            following = page["_pagination"]["next"]
            offset = following["offset"] if following else None


def apply(hub: Hub, guests: bool) -> bool:
    """Apply the roster. Return whether everything succeeded."""
    roster = read_roster()
    state = read_state(owners.LISTED)
    there = {user["name"] for user in hub.all("users")}
    members = {group["name"]: set(group["users"]) for group in hub.all("groups")}
    create, delete = changes(roster, there, state.get("names", []), guests, owners.known())
    groups = left_groups(roster, members, state.get("members", {}), delete)
    stops = {*state.get("stop", []), *to_stop(hub, roster, groups, delete)}
    named = {group: sorted(names) for group, names in roster.groups.items()}
    if stops:  # if this is killed, nobody in the hub shows any more that somebody has left
        write_state(owners.LISTED, {**state, "members": named, "stop": sorted(stops)})
    left = set()
    for name in sorted(delete):
        try:
            hub.call("DELETE", f"/users/{quote(name, safe='')}")
            why = "is somebody else now" if name in create else "is not listed any more"
            print(f"roster: {name} {why} and was deleted", file=sys.stderr, flush=True)
        except urllib.error.HTTPError as error:
            # The hub answers 400 while the server is starting or stopping.
            print(f"roster: {name} could not be deleted yet: {error}", file=sys.stderr, flush=True)
            left.add(name)
    for names in parts(create - left, USERS_AT_ONCE):
        hub.call("POST", "/users", {"usernames": names})
    apply_groups(hub, roster, (there - delete) | (create - left), members, delete - left)
    stops = {server for server in stops if not stop(hub, server)}
    names = state.get("names", []) if left else sorted(roster.users)
    now = {name: user["identity"] for name, user in roster.users.items() if name not in left}
    # Also those who left: nobody else gets into the hub as a guest with their name.
    identities = {**owners.listed(), **now}
    write_state(owners.LISTED, {"names": names, "identities": identities, "members": named, "stop": sorted(stops)})
    return not left and not stops


def apply_groups(hub: Hub, roster: Roster, users: set[str], before: Mapping[str, set[str]], deleted: set[str]) -> None:
    existing = {group: names - deleted for group, names in before.items()}
    more = {group: names & users for group, names in provider_groups.memberships(roster).items()}
    into, out, gone = memberships(roster, existing, more)
    for group in sorted(gone):
        hub.call("DELETE", f"/groups/{quote(group, safe='')}")
    for group in sorted(into.keys() - existing.keys()):
        hub.call("POST", f"/groups/{quote(group, safe='')}", {"users": []})
    for method, moved in (("DELETE", out), ("POST", into)):
        for group, names in moved.items():
            for part in parts(names, MEMBERS_AT_ONCE):
                hub.call(method, f"/groups/{quote(group, safe='')}/users", {"users": part})


def stop(hub: Hub, name: str) -> bool:
    """Stop a server. Return whether the hub has taken that on."""
    try:
        hub.call("DELETE", f"/users/{quote(name, safe='')}/server")
    except OSError as error:  # includes HTTPError and TimeoutError
        if isinstance(error, urllib.error.HTTPError) and error.code == 404:
            return True  # its user is deleted, and so is the server
        print(f"roster: {name} could not be stopped yet: {error}", file=sys.stderr, flush=True)
        return False
    why = "because somebody who had access has left"
    print(f"roster: the server of {name} is stopped, {why}", file=sys.stderr, flush=True)
    return True


def signature() -> tuple[object, object]:
    """Return a value that changes with the roster or with groups from log-ins."""
    roster = files.signature(DIRECTORY / "roster.json")
    try:
        return roster, provider_groups.recent()
    except Unusable:
        return roster, None


def main() -> None:
    hub = Hub(os.environ["JUPYTERHUB_API_URL"].rstrip("/"), os.environ["JUPYTERHUB_API_TOKEN"])
    authenticator = read_json(DIRECTORY / "config.json")["authenticator"]
    each = authenticator.get("each", [authenticator])
    guests = any(one.get(key) for one in each for key in ("signup", "allowed_organizations", "guests"))
    seen: object = ()
    when = 0.0
    while True:
        now = signature()
        if now != seen or time.monotonic() > when:
            seen = ()
            try:
                if apply(hub, guests):
                    seen = now
                    when = time.monotonic() + REPEAT
            except (Unusable, OSError) as error:  # includes URLError
                print(f"roster: {error}", file=sys.stderr, flush=True)
        time.sleep(SECONDS)


if __name__ == "__main__":
    main()
