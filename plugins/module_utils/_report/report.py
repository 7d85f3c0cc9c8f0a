# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make one report from all hosts' results of instance_status: rows, a table for the terminal, values for a page."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._report import printable
from ansible_collections.carrel.jupyter.plugins.module_utils._report.status import ERROR
from ansible_collections.carrel.jupyter.plugins.module_utils._shared.disk import size
from ansible_collections.carrel.jupyter.plugins.module_utils._shared.times import parse_time

# Ansible indents lines by 8, and may add quotes and a comma. This way they fit into 120 columns.
WIDTH = 108
NARROW = 12
SHORT_DIGEST = 12
NOTHING = "-"
OK, UNREACHABLE, EMPTY = "ok", "unreachable", "empty"
# worst first
ORDER = (ERROR, UNREACHABLE, "warning", OK, "held", "absent", EMPTY)


@dataclass(frozen=True)
class Problem:
    level: str
    text: str


@dataclass(frozen=True)
class Image:
    name: str
    digest: str  # the registry's, or else the image's id
    containers: str

    @property
    def short(self) -> str:
        return self.digest.partition(":")[2][:SHORT_DIGEST]


@dataclass(frozen=True)
class Row:
    """An instance, or a host without instances, as text."""

    host: str
    health: str
    name: str = NOTHING
    kind: str = NOTHING
    url: str = ""
    answers: str = NOTHING
    certificate: str = NOTHING
    images: tuple[Image, ...] = ()
    reset: str = NOTHING
    reset_at: str = ""
    commands: tuple[str, ...] = ()
    next_reset: str = NOTHING
    zone: str = ""
    backup: str = NOTHING
    users: str = NOTHING
    sizes: tuple[str, ...] = ()
    size: str = NOTHING
    images_size: str = NOTHING
    free: str = NOTHING
    notes: tuple[str, ...] = ()
    own: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()

    @property
    def link(self) -> str:
        """The URL, if browsers may follow it. It comes from the host, so it may be anything."""
        return self.url if self.url.startswith(("https://", "http://")) else ""

    @property
    def where(self) -> str:
        return self.host if self.name == NOTHING else f"{self.host} {self.name}"


def rows(hosts: Mapping[str, Mapping[str, Any]], now: datetime) -> list[Row]:
    """Return the rows, sorted by host. A host has the module's result, or Ansible's if the module did not run."""
    return [row for host in sorted(hosts) for row in _host(host, hosts[host], now)]


def _host(host: str, result: Mapping[str, Any], now: datetime) -> Iterator[Row]:
    instances = result.get("instances")
    host = printable.line(host)
    if instances is None:
        unreachable = bool(result.get("unreachable"))
        text = printable.line(result.get("msg") or "its status is not known")
        problem = Problem(ERROR, f"the host {'cannot be reached' if unreachable else 'could not be asked'}: {text}")
        yield Row(host, UNREACHABLE if unreachable else ERROR, problems=(problem,))
    elif not instances:
        yield Row(host, EMPTY)
    else:
        for instance in instances:
            try:
                row = _instance(host, instance, now)
            except Exception as error:  # a host may answer anything, and nobody else loses the report
                problem = Problem(ERROR, f"its status cannot be shown, because of a {type(error).__name__}")
                row = Row(host, ERROR, _name(instance), problems=(problem,))
            yield row


def _name(instance: Any) -> str:
    return printable.line(instance.get("name", NOTHING)) if isinstance(instance, Mapping) else NOTHING


def _instance(host: str, instance: Mapping[str, Any], now: datetime) -> Row:
    disk, last, schedule = (instance[key] or {} for key in ("disk", "reset", "schedule"))
    return Row(
        host=host,
        health=printable.line(instance["health"]),
        name=printable.line(instance["name"]),
        kind=printable.line(instance["kind"] or NOTHING),
        url=printable.line(instance["url"] or ""),
        answers=_answers(instance["site"]),
        certificate=_certificate(instance["site"]),
        images=tuple(_images(instance)),
        reset=_reset(last, now),
        reset_at=_utc(last.get("ended") or last.get("started")),
        commands=tuple(printable.line(text) for text in [*last.get("commands", []), *_smoke(last)]),
        next_reset=_next(schedule),
        zone=printable.line(schedule.get("timezone") or ("the host's time" if schedule.get("next") else "")),
        backup=_backup(instance["backup"] or {}, now),
        users=_users(instance["users"]),
        sizes=tuple(_sizes(instance["users"] or {})),
        size=_size(disk.get("directory_bytes")),
        images_size=_size(disk.get("images_bytes")),
        free=_size(disk.get("free_bytes")),
        notes=tuple(printable.line(note) for note in disk.get("notes", [])),
        own=tuple(printable.line(text) for text in instance["own"]),
        problems=tuple(Problem(entry["level"], printable.line(entry["text"])) for entry in instance["problems"]),
    )


def _smoke(last: Mapping[str, Any]) -> list[str]:
    return [f"smoke: {last['smoke']}"] if last.get("smoke") else []


def _answers(site: Mapping[str, Any] | None) -> str:
    if not site:
        return NOTHING
    if site["answers"]:
        return f"{site['milliseconds']} ms"
    return "no" if site["status"] is None else f"no, {site['status']}"


def _certificate(site: Mapping[str, Any] | None) -> str:
    ends = (site or {}).get("certificate")
    return f"certificate: {ends['days_left']} days" if ends else NOTHING


def _images(instance: Mapping[str, Any]) -> Iterator[Image]:
    """Yield the image in which people work. For a hub, this is the one of users' servers."""
    for entry in instance["images"] or []:
        yield Image(
            printable.line(entry["image"]),
            printable.line(entry["digest"] or entry["image_id"] or ""),
            "users' servers",
        )
    running = [entry for entry in instance["containers"] or [] if entry["state"] == "running"]
    for entry in running:
        yield Image(
            printable.line(entry["image"]),
            printable.line(entry["digest"] or entry["image_id"]),
            printable.line(f"{entry['name']}, {entry['health'] or 'running'}, since {_utc(entry['since'])}"),
        )


def _reset(last: Mapping[str, Any], now: datetime) -> str:
    if not last:
        return NOTHING
    moment = parse_time(last["ended"] or last["started"])
    times = f" {last['put_off']}x" if last["put_off"] > 1 else ""
    return f"{last['result']}{times}{f' {ago(now - moment)}' if moment else ''}"


def _backup(last: Mapping[str, Any], now: datetime) -> str:
    """Return when the last good backup and the last good drill ended."""
    moment, tried = parse_time(last.get("good")), parse_time((last.get("drill") or {}).get("good"))
    drill = f", drill {ago(now - tried)}" if tried else ""
    return f"{ago(now - moment)}{drill}" if moment else "never" if last else NOTHING


def _utc(text: str | None) -> str:
    moment = parse_time(text)
    return f"{moment:%Y-%m-%d %H:%M} UTC" if moment else ""


def _next(schedule: Mapping[str, Any]) -> str:
    """Return when the next reset is due by the clock of its zone."""
    coming = schedule.get("next")
    return printable.line(str(coming)[11:16] if parse_time(coming) else schedule.get("at") or NOTHING)


def _users(users: Mapping[str, Any] | None) -> str:
    return f"{users['servers']}/{users['known']}" if users else NOTHING


def _sizes(users: Mapping[str, Any]) -> Iterator[str]:
    for entry in users.get("sizes", []):
        yield printable.line(f"{entry['name']}: {entry['text']}, {entry['measured']}")


def ago(past: timedelta) -> str:
    """
    >>> ago(timedelta(hours=49))
    '2 d ago'
    """
    seconds = max(past.total_seconds(), 0)
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{int(seconds // length)} {unit} ago"
    return "just now"


def _size(count: int | None) -> str:
    return NOTHING if count is None else size(count)


def summary(found: Sequence[Row]) -> str:
    """
    >>> summary([Row("a", "ok", "tao"), Row("b", "unreachable")])
    '1 instance on 2 hosts: 1 unreachable, 1 ok'
    """
    return f"{extent(found)}: {', '.join(f'{number} {health}' for health, number in counts(found))}"


def extent(found: Sequence[Row]) -> str:
    instances, hosts = sum(row.name != NOTHING for row in found), len({row.host for row in found})
    return f"{_plural(instances, 'instance')} on {_plural(hosts, 'host')}"


def counts(found: Sequence[Row]) -> list[tuple[str, int]]:
    """Return the number of rows for each health, worst first."""
    present = [row.health for row in found]
    return [(health, present.count(health)) for health in ORDER if health in present]


def problems(found: Sequence[Row]) -> list[tuple[Row, Problem]]:
    """Return all problems, errors first."""
    pairs = [(row, problem) for row in found for problem in row.problems]
    return sorted(pairs, key=lambda pair: pair[1].level != ERROR)


def _plural(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def failing(hosts: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return instances that should answer and do not, and hosts whose status is not known."""
    found = []
    for host in sorted(hosts):
        instances = hosts[host].get("instances")
        if instances is None:
            found.append(host)
        for instance in instances or []:
            state, site = (instance.get(key) if isinstance(instance, Mapping) else None for key in ("state", "site"))
            answers = isinstance(site, Mapping) and site.get("answers")
            if state not in ("held", "absent") and not (state == "present" and answers):
                found.append(f"{host} {_name(instance)}")
    return found


HEAD = ("HOST", "INSTANCE", "HEALTH", "ANSWERS", "IMAGE", "LAST RESET", "NEXT", "USERS", "DISK")


def table(found: Sequence[Row]) -> list[str]:
    """Return lines for the terminal: the table, problems, the administrator's own additions, and a summary."""
    cells = [HEAD, *(_cells(row) for row in found)]
    widths = _fit([max(map(len, column)) for column in zip(*cells)])
    lines = ["  ".join(_cut(cell, width) for cell, width in zip(line, widths)).rstrip() for line in cells]
    wrong = [f"{problem.level.upper()} {row.where}: {problem.text}" for row, problem in problems(found)]
    own = [f"{row.where} has the administrator's own {'; '.join(row.own)}" for row in found if row.own]
    return [*lines, *(part for text in [*wrong, *own] for part in _wrapped(text)), summary(found)]


def _cells(row: Row) -> tuple[str, ...]:
    image = NOTHING
    if row.images:
        first = row.images[0]
        image = f"{first.name.rpartition('/')[2]} {first.short}".strip()
    health = row.health if row.health in (OK, EMPTY) else row.health.upper()
    return (row.host, row.name, health, row.answers, image, row.reset, row.next_reset, row.users, row.size)


def _fit(widths: list[int]) -> list[int]:
    """Reduce the widths until a line fits: that of the image first, then the widest."""
    widths, image = list(widths), HEAD.index("IMAGE")
    while sum(widths) + 2 * (len(widths) - 1) > WIDTH:
        widths[image if widths[image] > NARROW else widths.index(max(widths))] -= 1
    return widths


def _cut(text: str, width: int) -> str:
    return text.ljust(width) if len(text) <= width else text[: width - 1] + "~"


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, subsequent_indent="    ", break_on_hyphens=False)
