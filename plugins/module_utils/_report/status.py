# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Interpret files and answers for the module instance_status, and find the problems of an instance."""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta, timezone, tzinfo
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._engine.ports import open_ports
from ansible_collections.carrel.jupyter.plugins.module_utils._engine.programs import advice
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.facts import parse_instance
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.shorten import some
from ansible_collections.carrel.jupyter.plugins.module_utils._report import backups
from ansible_collections.carrel.jupyter.plugins.module_utils._report.printable import bounded
from ansible_collections.carrel.jupyter.plugins.module_utils._shared.disk import Use, is_much, taken, uses
from ansible_collections.carrel.jupyter.plugins.module_utils._shared.times import parse_time

CERTIFICATE_DAYS = 14
FULL_PERCENT = 90
MOST_SIZES = 1000
NAMED = 5
OVERDUE = timedelta(hours=49)  # a daily reset may wait for people until its deadline
STATES = ("present", "held", "absent")
RESULTS = ("running", "done", "failed", "put off", "held")
ERROR, WARNING = "error", "warning"
PROJECT, SERVICE = "com.docker.compose.project", "com.docker.compose.service"
INSTANCE, USER = "carrel.instance", "carrel.user"


def reset(text: str, locked: bool) -> dict[str, Any]:
    """Return what state.json says about the last reset. Raises ValueError.

    The file belongs to the engine's account, so nothing in it is trusted.
    """
    state = parse_instance(text)
    result = state.get("result")
    if result not in RESULTS:
        raise ValueError(f"its result is {result!r}")
    history = state.get("history")
    return {
        "result": "interrupted" if result == "running" and not locked else result,
        **{key: _text(state.get(key)) for key in ("step", "message", "started", "ended")},
        # Each becomes a problem in the status of the whole fleet.
        "warnings": bounded([str(warning) for warning in _list(state.get("warnings"))]),
        "commands": _commands(state.get("commands")),
        "smoke": _text(state.get("smoke")),
        "put_off": max(_leading_put_offs(_list(history)), 1) if result == "put off" else 0,
    }


def _commands(ran: object) -> list[str]:
    """Describe how the administrator's commands before and after the reset ended."""
    return bounded([f"{when}: {how}" for when, how in ran.items()]) if isinstance(ran, dict) else []


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _leading_put_offs(history: Sequence[Any]) -> int:
    results = [run.get("result") if isinstance(run, dict) else None for run in history]
    return next((number for number, result in enumerate(results) if result != "put off"), len(results))


def next_time(at: object, now: datetime, zone: tzinfo) -> str | None:
    """Return when the next reset at HH:MM is due. None with cron.daily or without a time."""
    found = re.fullmatch(r"([01]\d|2[0-3]):([0-5]\d)", str(at))
    if not found:
        return None
    here = now.astimezone(zone)
    today = here.replace(hour=int(found[1]), minute=int(found[2]), second=0, microsecond=0, fold=0)
    # Within one zone, Python compares and adds local times.
    coming = today if today.astimezone(timezone.utc) > now else today + timedelta(days=1)
    return coming.isoformat()


def certificate(enddate: str, now: datetime) -> dict[str, Any]:
    """Parse the date of `openssl x509 -enddate`. Raises ValueError."""
    ends = datetime.fromtimestamp(ssl.cert_time_to_seconds(enddate.strip().partition("=")[2]), timezone.utc)
    return {"ends": ends.isoformat(), "days_left": (ends - now).days}


def is_own(container: Mapping[str, Any], name: str) -> bool:
    """Whether a container is a service of the instance, not a user's server."""
    return _labels(container).get(PROJECT) == name


def _labels(container: Mapping[str, Any]) -> dict[str, str]:
    return container["Labels"] or {}


def servers(containers: Sequence[Mapping[str, Any]], name: str) -> int:
    """Return how many users' servers of a hub run."""
    running = [_labels(container) for container in containers if container["State"] == "running"]
    return sum(labels.get(INSTANCE) == name and USER in labels for labels in running)


def container(
    inspected: Mapping[str, Any], image: Mapping[str, Any] | None, tagged: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Describe a container from the engine's answers about it, its image, and the image that its tag means now."""
    state = inspected["State"]
    return {
        "name": inspected["Name"].lstrip("/"),
        "service": _text(inspected["Config"]["Labels"].get(SERVICE)),
        "state": str(state["Status"]),
        "health": _text((state.get("Health") or {}).get("Status")),
        "since": str(state["StartedAt"]) if state["Running"] else None,
        "image": str(inspected["Config"]["Image"]),
        "image_id": str(inspected["Image"]),
        "digest": _digest(image),
        "as_tagged": None if tagged is None else tagged["Id"] == inspected["Image"],
    }


def image(tag: str, found: Mapping[str, Any] | None) -> dict[str, Any]:
    """Describe an image from the engine's answer."""
    return {"image": tag, "image_id": str(found["Id"]) if found else None, "digest": _digest(found)}


def _digest(image: Mapping[str, Any] | None) -> str | None:
    """Return the registry's digest. An image that was built on the host has none."""
    digests = (image or {}).get("RepoDigests") or [""]
    return str(digests[0]).partition("@")[2] or None


def bytes_of(sizes: Mapping[str, Any]) -> int:
    """Return the size of an engine's images. Raises ValueError."""
    found = sizes["LayersSize"]
    if isinstance(found, bool) or not isinstance(found, int) or not 0 <= found < 2**63:
        raise ValueError("the size of its images is no number of bytes")
    return found


def people(roster: str) -> int:
    """Return how many users a roster.json has, without those of servers of groups. Raises ValueError."""
    users = json.loads(roster)["users"] if roster else {}
    if not isinstance(users, dict):
        raise ValueError("its users are no object")
    return sum(not (isinstance(user, dict) and user.get("server_of")) for user in users.values())


def sizes(roster: str, measured: str | None) -> list[dict[str, Any]]:
    """Return the disk usage in a disk.json of users in a roster.json, the largest first. Raises ValueError."""
    found_uses = uses(parse_instance(measured)) if measured else {}
    users = parse_instance(roster)["users"] if roster else {}
    listed = [(name, use, users[name]) for name, use in found_uses.items() if isinstance(users.get(name), dict)]
    found = [
        {
            "name": name,
            "bytes": use.bytes,
            "limit": limits.get("disk"),
            "much": is_much(use, limits),
            "text": taken(use, limits),
            "measured": use.when,
        }
        for name, use, limits in listed
    ]
    return sorted(found, key=lambda entry: (-int(entry["bytes"]), entry["name"]))[:MOST_SIZES]


def percent_used(free: int, total: int, available: int) -> int:
    """Return the percentage that df shows: of the space that accounts other than root can use."""
    used = total - free
    return round(100 * used / (used + available)) if used + available else 0


def unknown(name: str) -> dict[str, Any]:
    """Return what is known of an instance of which nothing can be read."""
    keys = (
        "kind", "state", "url", "directory", "site", "reset", "schedule", "backup", "engine", "ports", "containers",
        "images", "users", "disk",
    )  # fmt: skip
    return {**dict.fromkeys(keys), "name": name, "own": [], "unreadable": []}


def examine(found: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """Add an instance's problems to what was read, worst first, and one word for its health."""
    present = found["state"] == "present"
    checks = (
        (_ports, _url, _backup, _reset, _engine, _servers, _cron, _certificate, _disk, _two_servers, _images)
        if present
        else (_ports, _backup, _reset, _disk)
    )
    problems = [{"level": level, "text": text} for check in checks for level, text in check(found, now)]
    # Without a state, its record could not be read.
    problems += [{"level": level if found["state"] else ERROR, "text": text} for level, text in found["unreadable"]]
    problems.sort(key=lambda problem: problem["level"] != ERROR)
    kept = {key: value for key, value in found.items() if key != "unreadable"}
    return {**kept, "health": _health(found["state"], problems), "problems": problems}


def _health(state: str | None, problems: Sequence[Mapping[str, str]]) -> str:
    if problems:
        return problems[0]["level"]
    return "ok" if state == "present" else str(state)


Found = Iterator[tuple[str, str]]


def _ports(found: Mapping[str, Any], now: datetime) -> Found:
    ports = found["ports"]
    if not ports or found["state"] == "absent":
        return
    for text in ports["taken"]:
        yield ERROR, text
    if ports["open"]:
        yield WARNING, f"{open_ports(ports['open'])}: run the playbook carrel.jupyter.site, which says why"


def _url(found: Mapping[str, Any], now: datetime) -> Found:
    site = found["site"]
    if site and not site["answers"]:
        yield ERROR, f"{found['url']} does not answer: {site['error']}"


def _reset(found: Mapping[str, Any], now: datetime) -> Found:
    last = found["reset"]
    if not last:
        return
    what = f"at step {last['step']}: {last['message']}"
    if last["result"] == "failed":
        yield ERROR, f"the last reset failed {what}"
    elif last["result"] == "interrupted":
        yield ERROR, f"the last reset was interrupted {what}"
    elif last["result"] == "put off":
        times = "once" if last["put_off"] == 1 else f"{last['put_off']} times in a row"
        yield WARNING, f"the reset was put off {times}: {last['message']}"
    for warning in last["warnings"]:
        yield WARNING, f"the last reset warned: {warning}"


def _backup(found: Mapping[str, Any], now: datetime) -> Found:
    yield from backups.problems(found["backup"], now)


def _cron(found: Mapping[str, Any], now: datetime) -> Found:
    """Check that a reset has begun each day since cron has the job, whatever its result."""
    if found["schedule"]:
        begun = parse_time((found["reset"] or {}).get("started"))
        since = parse_time(found["schedule"]["since"])
        newest = max((moment for moment in (begun, since) if moment), default=now)
        if now - newest > OVERDUE:
            yield (
                WARNING,
                f"no reset began since {newest:%Y-%m-%d %H:%M} UTC, though one is set for each day: does cron run?",
            )


def _engine(found: Mapping[str, Any], now: datetime) -> Found:
    engine = found["engine"]
    if engine and not engine["running"]:
        yield ERROR, f"the engine {engine['name']} is stopped: {engine['error']}"
    elif engine and engine["replaced"]:
        yield WARNING, advice(engine["name"], engine["replaced"])


def _servers(found: Mapping[str, Any], now: datetime) -> Found:
    containers = found["containers"]
    if containers is None:
        return
    running = [entry for entry in containers if entry["state"] == "running"]
    if not running:
        yield ERROR, "none of its containers runs"
    elif found["kind"] == "hub":
        for entry in containers:
            if entry["state"] != "running":
                yield ERROR, f"the container {entry['name']} is {entry['state']}"
    for entry in running:
        if entry["health"] == "unhealthy":
            yield ERROR, f"the container {entry['name']} is unhealthy: read its log (docker logs {entry['name']})"


def _certificate(found: Mapping[str, Any], now: datetime) -> Found:
    ends = (found["site"] or {}).get("certificate")
    if not ends or ends["days_left"] >= CERTIFICATE_DAYS:
        return
    if ends["days_left"] < 0:
        yield ERROR, f"the certificate ended on {ends['ends'][:10]}"
    else:
        yield WARNING, f"the certificate ends in {ends['days_left']} days, on {ends['ends'][:10]}"


def _disk(found: Mapping[str, Any], now: datetime) -> Found:
    disk = found["disk"]
    if disk:
        yield from _full(found["directory"], disk)
    if disk and disk["engine"]:
        yield from _full(f"{disk['engine']['directory']}, the engine's data root,", disk["engine"])
    limit = disk and disk.get("limit")
    if limit:
        use, limits = Use(limit["bytes"], "", limit["files"]), {"disk": limit["most"]}
        if is_much(use, limits):
            yield WARNING, f"its folders take {taken(use, limits)}"
    much = [entry for entry in (found["users"] or {}).get("sizes", []) if entry["much"]]
    if much:
        named = some([f"{entry['name']} ({entry['text']})" for entry in much], NAMED)
        yield WARNING, f"folders of users are nearly full: {named}"


def _full(what: str, system: Mapping[str, Any]) -> Found:
    if system["used_percent"] > FULL_PERCENT:
        yield WARNING, f"the file system of {what} is {system['used_percent']} % full"
    if system["files_percent"] > FULL_PERCENT:
        yield WARNING, f"the file system of {what} has {system['files_percent']} % of its inodes in use: remove files"


def _two_servers(found: Mapping[str, Any], now: datetime) -> Found:
    running = [entry["name"] for entry in found["containers"] or [] if entry["state"] == "running"]
    under_way = found["reset"] and found["reset"]["result"] == "running"
    if found["kind"] == "lab" and len(running) > 1 and not under_way:
        yield WARNING, f"{' and '.join(running)} run at once without a reset under way: the next reset removes one"


def _images(found: Mapping[str, Any], now: datetime) -> Found:
    for entry in found["containers"] or []:
        if entry["state"] == "running" and not entry["as_tagged"]:
            if entry["as_tagged"] is None:
                yield WARNING, f"the engine no longer has {entry['image']}, which {entry['name']} runs"
            else:
                yield WARNING, f"{entry['name']} runs another image than {entry['image']} now means: reset it"
