# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which range of subordinate ids each account has or gets; subuid(5), subgid(5)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

FILES = {"uid": "/etc/subuid", "gid": "/etc/subgid"}


SLICE = 200_000
FIRST_OF_A_SLICE = (500, 501, 502, *range(512, 528), *range(1000, 1200))
STRIDE = 256
# Of ranges in use, which are asked for in each run.
WIDE_STRIDE = 1024
LOCAL_SOURCES = {"files", "compat", "systemd", "db"}


@dataclass(frozen=True, order=True)
class Range:
    start: int
    count: int

    @property
    def last(self) -> int:
        return self.start + self.count - 1

    def overlaps(self, other: Range) -> bool:
        return self.start <= other.last and other.start <= self.last

    def __str__(self) -> str:
        return f"{self.start}:{self.count}"


@dataclass(frozen=True)
class Entry:
    owner: str
    ids: Range


@dataclass(frozen=True)
class Bounds:
    """Where new ranges may lie: SUB_UID_MIN and SUB_UID_MAX, or SUB_GID_MIN and SUB_GID_MAX, of login.defs(5)."""

    first: int = 100_000
    last: int = 600_100_000


@dataclass(frozen=True)
class Side:
    """One of the two files, and the ids that accounts or groups of the host have themselves."""

    entries: list[Entry]
    taken: frozenset[int] = frozenset()
    bounds: Bounds = Bounds()
    blocked: tuple[Range, ...] = ()  # where a name service has ids


@dataclass
class Plan:
    ranges: dict[str, dict[str, Range]] = field(default_factory=dict)
    additions: dict[str, dict[str, Range]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def parse(text: str) -> list[Entry]:
    """The entries of a file; invalid lines are skipped, as shadow does."""
    entries = []
    for line in text.splitlines():
        owner, _unused, rest = line.strip().partition(":")
        start, _unused, count = rest.partition(":")
        if owner and start.isdecimal() and count.isdecimal() and int(count) > 0:
            entries.append(Entry(owner, Range(int(start), int(count))))
    return entries


def parse_login_defs(text: str, kind: str) -> Bounds:
    words = (line.split() for line in text.splitlines() if not line.lstrip().startswith("#"))
    values = {found[0]: int(found[1]) for found in words if len(found) >= 2 and found[1].isdecimal()}
    name, default = f"SUB_{kind.upper()}", Bounds()
    return Bounds(values.get(f"{name}_MIN", default.first), values.get(f"{name}_MAX", default.last))


def free_range(used: Iterable[Range], count: int, bounds: Bounds) -> Range | None:
    """The lowest free range."""
    start = bounds.first
    for taken in sorted(used):
        if taken.start >= start + count:
            break
        start = max(start, taken.last + 1)
    found = Range(start, count)
    return found if found.last <= bounds.last else None


def probes(ids: Range, stride: int = STRIDE) -> list[int]:
    """Where to ask whether a name service that lists nobody has ids in a range: all would take minutes.

    Active Directory's first accounts and groups lie at the beginning of slices of 200,000 ids (sssd-ad(5)); elsewhere
    people's ids follow each other.
    """
    slices = range(ids.start // SLICE * SLICE, ids.last + 1, SLICE)
    likely = {start + number for start in slices for number in FIRST_OF_A_SLICE}
    spread = {*range(ids.start, ids.last + 1, stride), ids.last}
    return sorted(one for one in likely | spread if ids.start <= one <= ids.last)


def asks_elsewhere(nsswitch: str) -> bool:
    """Whether accounts or groups come from more than the host's own files; nsswitch.conf(5)."""
    lines = (line.partition("#")[0].partition(":") for line in nsswitch.splitlines())
    sources = (word for key, _unused, rest in lines if key.strip() in ("passwd", "group") for word in rest.split())
    return any(word not in LOCAL_SOURCES and not word.startswith("[") for word in sources)


def inhabited(kind: str, name: str, ids: Range, one: int) -> str:
    """The warning for a range in use that holds an id of a name service."""
    return (
        f"{FILES[kind]}: the range {ids} of {name} holds the {kind} {one}, which a name service gives to somebody else,"
        f" so that a container could act as them where files have that id. {_move(kind, name, ids)}"
    )


def around(one: int) -> Range:
    """The ids around one of a name service that are avoided."""
    return Range(one // SLICE * SLICE, SLICE) if one >= SLICE else Range(one, STRIDE)


def make_plan(accounts: Mapping[str, int | None], sides: Mapping[str, Side], count: int) -> Plan:
    """Keep each account's one good range, add one where there is none, complain about everything else.

    `accounts` has the uid of each account, None for one that does not exist yet. An entry may name its owner by uid.
    Nothing is ever repaired: files belong to the ids of a range that was once in use.
    """
    plan = Plan()
    for kind, side in sides.items():
        used = [entry.ids for entry in side.entries] + [Range(one, 1) for one in side.taken] + list(side.blocked)
        for name, uid in accounts.items():
            names = {name} if uid is None else {name, str(uid)}
            own = [entry for entry in side.entries if entry.owner in names]
            if not own:
                new = free_range(used, count, side.bounds)
                if new is None:
                    plan.problems.append(_no_room(kind, name, count, side.bounds))
                    continue
                used.append(new)
                plan.additions.setdefault(name, {})[kind] = new
                plan.ranges.setdefault(name, {})[kind] = new
                continue
            plan.ranges.setdefault(name, {})[kind] = own[0].ids
            plan.problems.extend(_problems(kind, name, own, side, count))
    return plan


def _problems(kind: str, name: str, own: list[Entry], side: Side, count: int) -> list[str]:
    where, ids = FILES[kind], own[0].ids
    if len(own) > 1:
        found = ", ".join(str(entry.ids) for entry in own)
        return [
            f"{where}: {name} has {len(own)} ranges ({found}), but must have one. Files may belong to the ids of any of"
            f" them: keep the one in use and remove each other one with `usermod --del-sub{kind}s FIRST-LAST {name}`"
        ]
    move = _move(kind, name, ids)
    problems = []
    if ids.count < count:
        problems.append(f"has {ids.count} ids, but at least {count} are needed")
    for entry in side.entries:
        if entry is not own[0] and ids.overlaps(entry.ids):
            problems.append(f"overlaps {entry.ids} of {entry.owner}, so that each could read the other's files")
    inside = sorted(one for one in side.taken if ids.start <= one <= ids.last)
    if inside:
        problems.append(
            f"holds the {kind} {inside[0]}, which an account or group of this host has itself, so that a container"
            " could act as it"
        )
    return [f"{where}: the range {ids} of {name} {problem}. {move}" for problem in problems]


def _move(kind: str, name: str, ids: Range) -> str:
    return (
        f"Stop the account's engine, remove the range with `usermod --del-sub{kind}s {ids.start}-{ids.last} {name}`,"
        " run this again to get a new one, and give the files that belong to the old ids to the new ones"
    )


def _no_room(kind: str, name: str, count: int, bounds: Bounds) -> str:
    return (
        f"{FILES[kind]}: no {count} consecutive ids are free between {bounds.first} and {bounds.last} for {name}:"
        f" raise SUB_{kind.upper()}_MAX in /etc/login.defs"
    )
