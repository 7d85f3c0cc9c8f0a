# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a takeover moves, from where to where, and whether it may."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_ASIDE = "/etc/carrel/adopted"
_FOLDERS = (
    "/etc/cron.daily",
    "/etc/cron.d",
    "/etc/apache2/sites-enabled",
    "/etc/nginx/sites-enabled",
    "/etc/nginx/conf.d",
)
AGAIN = "run carrel.jupyter.adopt again"


def name_of(entry: Mapping[str, Any]) -> str:
    """What -e jupyter_takeover names: a hub, or the account of labs."""
    name: str = entry.get("hub") or entry["account"]
    return name


def aside(name: str) -> str:
    """The folder with the jobs and sites of an old setup, and the record of its takeover."""
    return f"{_ASIDE}/{name}"


def target(base: str, name: str) -> str:
    return f"{base}/{name}/data/notebooks"


def place_problem(name: str, notebooks: Mapping[str, str], stays: Iterable[str]) -> str | None:
    """Why a lab's folder cannot be moved. NOTEBOOKS are the folders of all labs by name; what STAYS is not moved."""
    path = notebooks[name]
    inside = sorted(place for place in stays if _within(place, path))
    if inside:
        return (
            f"its notebooks' folder {path} is or contains {inside[0]}, which must stay where it is: mount a folder of "
            "its own"
        )
    both = [
        other for other, place in notebooks.items() if other != name and (_within(place, path) or _within(path, place))
    ]
    if both:
        return (
            f"its notebooks' folder {path} is also that of {', '.join(both)}, or one lies in the other: give each a "
            "folder of its own, or make one of them `volumes`"
        )
    return None


def _within(path: str, folder: str) -> bool:
    inner, outer = (f"{posixpath.normpath(one).rstrip('/')}/" for one in (path, folder))
    return inner.startswith(outer)


def moves(entry: Mapping[str, Any], base: str) -> dict[str, str]:
    """Where each folder and file of an entry of jupyter_adopted goes."""
    folders = {one["notebooks"]: target(base, one["name"]) for one in entry["instances"]}
    return {**folders, **{path: f"{aside(entry['account'])}{path}" for path in entry["files"]}}


def described(entry: Mapping[str, Any], base: str) -> tuple[str, str]:
    """Both states for the diff."""
    there = moves(entry, base)
    before, after = [f"engine: {entry['unit']}", *there], ["engine: the collection's", *there.values()]
    return "".join(f"{line}\n" for line in before), "".join(f"{line}\n" for line in after)


def undeclared(entry: Mapping[str, Any], labs: Iterable[Mapping[str, Any]]) -> list[str]:
    """Instances of an entry that the inventory does not have. LABS are lab_instances of the plan."""
    engines = {lab["name"]: lab["engine"] for lab in labs if lab["state"] != "absent"}
    return [one["name"] for one in entry["instances"] if engines.get(one["name"]) != entry["account"]]


def foreseen(current: Mapping[str, Any], entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The result of instance_info once old setups have ended: accounts are the collection's, and ports are free."""
    labs = [one for one in entries if "hub" not in one]
    engines: dict[str, Any] = {one["account"]: {} for one in labs if one["account"] in current["accounts"]}
    freed = {instance["port"] for one in labs for instance in one["instances"]}
    freed |= {one["port"] for one in entries if "hub" in one}
    return {
        **current,
        "engines": {**engines, **current["engines"]},
        "taken_in_part": [name for name in current["taken_in_part"] if name not in map(name_of, entries)],
        "listening_ports": [port for port in current["listening_ports"] if port not in freed],
    }


def file_problem(entry: Mapping[str, Any], there: Mapping[str, bool], nginx_runs: bool) -> str | None:
    """Why the jobs and sites cannot be put aside."""
    for path in entry["shared"]:
        return (
            f"{path} does more than what is taken over, or is of others: take its part out of it by hand, do not "
            "reload, and remove it from `shared` in jupyter_adopted"
        )
    for path in entry["files"]:
        if posixpath.dirname(path) not in _FOLDERS or posixpath.basename(path) in ("", ".", ".."):
            return f"{path} is in none of {', '.join(_FOLDERS)}: remove it from `files` in jupyter_adopted"
        if not there[path]:
            return f"{path} does not exist any more: remove it from `files` in jupyter_adopted, or {AGAIN}"
    if nginx_runs and any(path.startswith("/etc/nginx/") for path in entry["files"]):
        return (
            "nginx runs, and Apache needs its ports: move its other sites to Apache, and stop it: systemctl disable "
            "--now nginx"
        )
    return None


def since(archives: Iterable[str], began: str) -> list[str]:
    """Those that were made after a takeover began. Names end with their times; older ones are of another instance."""
    return [name for name in archives if name.rpartition("-")[2] >= began]


def owner_problem(path: str, account: str, owner: tuple[int, int], ids: tuple[set[int], set[int]]) -> str | None:
    """Why a folder is not an account's. IDS are the account's and its containers'."""
    if owner[0] in ids[0] and owner[1] in ids[1]:
        return None
    return f"{path} belongs to {owner[0]}:{owner[1]} and not to {account} or its containers: {AGAIN}"


def chosen(entries: Iterable[Mapping[str, Any]], names: Sequence[str]) -> list[Mapping[str, Any]]:
    return [entry for entry in entries if name_of(entry) in names]


def not_chosen(names: Iterable[str], adopted: Mapping[str, Any]) -> list[str]:
    """Of the named accounts and hubs those that not exactly one host has. ADOPTED are the hosts' jupyter_adopted."""
    problems = []
    for name in names:
        hosts = [host for host, entries in adopted.items() if any(name_of(entry) == name for entry in entries)]
        if len(hosts) != 1:
            problems.append(f"{name} is in jupyter_adopted of {' and '.join(hosts) or 'no host'}")
    return problems
