# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the takeover of a hub ends and copies, and whether it may."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._adopt.takeover import aside
from ansible_collections.carrel.jupyter.plugins.module_utils._engine.ids import container_id, mapped_id
from ansible_collections.carrel.jupyter.plugins.module_utils._shared.disk import size
from ansible_collections.carrel.jupyter.plugins.module_utils._shared.escape import escape

_GIVEN = {"base": "jupyter_base_dir", "engine": "engine"}
_POLICIES = ("no", "always", "on-failure", "unless-stopped")


@dataclass(frozen=True)
class Span:
    """The ids of one kind that an engine's account has: its own one, and those of its range."""

    own: int
    start: int
    count: int

    def inside(self, number: int) -> int | None:
        return container_id(number, self.own, self.start, self.count)

    def outside(self, number: int) -> int | None:
        return mapped_id(number, self.own, self.start, self.count) if number <= self.count else None


Spans = tuple[Span, Span]  # uids and gids


def owners(old: Spans | None, new: Spans | None) -> Callable[[int, int], tuple[int, int] | None]:
    """From the host's ids of one engine's containers to those of another's. None: Docker as root, which maps none."""

    def owner(uid: int, gid: int) -> tuple[int, int] | None:
        inside = (old[0].inside(uid), old[1].inside(gid)) if old else (uid, gid)
        if inside[0] is None or inside[1] is None:
            return None
        outside = (new[0].outside(inside[0]), new[1].outside(inside[1])) if new else (inside[0], inside[1])
        return None if outside[0] is None or outside[1] is None else (outside[0], outside[1])

    return owner


def user_folder(place: str, user: str) -> str:
    """PLACE is the instance's folder, or its archive."""
    return f"{place}/data/users/{escape(user)}"


def no_home(user: str, hub: str, base: str) -> str:
    return (
        f"{user}: nothing was copied back, because neither {base}/{hub} nor an archive of it in {base}/.archive since "
        "the takeover has a home: if it was moved away, copy what is newer there yourself"
    )


def moves(entry: Mapping[str, Any]) -> dict[str, str]:
    return {path: f"{aside(entry['hub'])}{path}" for path in entry["files"]}


def described(entry: Mapping[str, Any]) -> tuple[str, str]:
    """Both states for the diff."""
    there = moves(entry)
    before = [f"container {entry['container']}: as it was set up", *there]
    after = [f"container {entry['container']}: stopped, and not restarted", *there.values()]
    return "".join(f"{line}\n" for line in before), "".join(f"{line}\n" for line in after)


def declared_problem(entry: Mapping[str, Any], hubs: Iterable[Mapping[str, Any]]) -> str:
    """Why the inventory's hub cannot have the files; empty if it can. HUBS are hub_instances of the plan."""
    name = entry["hub"]
    hub = next((one for one in hubs if one["name"] == name and one["state"] != "absent"), None)
    if hub is None:
        return f"jupyter_instances has no hub {name}: declare it, as carrel.jupyter.adopt wrote it"
    if hub["backend"] != "directories":
        return f"{name} has backend: {hub['backend']}, into which no files are copied: leave backend out"
    if hub["engine"] == entry["account"]:
        return f"{name} would get the engine of the old hub: write another engine, an account that is not there yet"
    return ""


def change_problem(record: Mapping[str, Any], given: Mapping[str, str]) -> str | None:
    """Why a takeover that has begun cannot go on with what is given now: its base, its engine or both."""
    for key, value in given.items():
        if record.get(key, value) != value:
            return (
                f"the takeover began with the {_GIVEN[key]} {record[key]}, and now it is {value}: write {record[key]} "
                "again, or give the hub back first"
            )
    return None


def container_problem(container: str, found: Mapping[str, Any]) -> str | None:
    """Why a container cannot be stopped and started again. FOUND is the engine's answer."""
    if found["HostConfig"].get("AutoRemove"):
        return (
            f"the container {container} was started with --rm, and would be gone once it is stopped: start it without, "
            "and run this again"
        )
    return None


def restart_policy(found: Mapping[str, Any]) -> dict[str, Any]:
    """What is kept of a policy that an account's engine answered. Raises ValueError."""
    name = found["Name"] or "no"
    if name not in _POLICIES:
        raise ValueError(f"the engine answers with the restart policy {name!r}, and Docker has {', '.join(_POLICIES)}")
    return {"Name": name, "MaximumRetryCount": int(found.get("MaximumRetryCount") or 0)}


def room(needed: int, free: int, base: str) -> str | None:
    if needed <= free:
        return None
    return f"people's files take {size(needed)}, and {base} has {size(free)} free: make room first"


def left_out(user: str, where: str, left: Sequence[str], count: int) -> str | None:
    """What is said about things that were not copied, from or to a folder."""
    if not count:
        return None
    more = f", and {count - len(left)} more" if count > len(left) else ""
    return f"{user}: not copied {where}: {'; '.join(left)}{more}"
