# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role reset installs, the results of its program, and the report of playbooks/reset.yml."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._plan.names import shares_file_with
from ansible_collections.carrel.jupyter.plugins.module_utils._site.cron import check_mailto, program_files

PROGRAM = "/usr/local/sbin/carrel-reset"
PACKAGE = "/usr/local/lib/carrel/carrel_reset"
SETTINGS = "/etc/carrel/reset/{}.json"
STATE_DIRECTORY = "/var/lib/carrel/{}/reset"
OBSOLETE_PROGRAM = "/usr/local/lib/carrel/reset.py"
SPARE_SECONDS = 120
TRIAL_SECONDS = 300  # until a throwaway server for smoke notebooks has started
_AT_WORK = {"pull_timeout_seconds": 1800, "start_timeout_seconds": 120, "drain_seconds": 10}
HEAD = "# Managed by carrel.jupyter, role reset\n"

IMAGE_ID = re.compile(r"sha256:[0-9a-f]{64}")
USAGE, LOCKED, PUT_OFF = 2, 3, 4  # exit codes of the program

Job = Mapping[str, Any]


def install(
    jobs: Sequence[Job],
    engines: Mapping[str, Any],
    instances: Iterable[str],
    host: str,
    mailto: str,
    program: str,
    package: Mapping[str, str],
) -> dict[str, Any]:
    """Return what install_files makes, writes and removes for the jobs of a host.

    PROGRAM is the text of the command, PACKAGE has the text of each file of its package. `without_engine` names the
    instances that are left out, because the account of their engine does not exist yet. A file that belongs to the
    backups of another instance, a job's or one of the host's INSTANCES, is left to the role backup. Raises ValueError.
    """
    check_mailto("reset_mailto", mailto)
    others = {*instances, *(job["name"] for job in jobs)}
    found: dict[str, Any] = {
        "directories": [],
        "files": program_files(PROGRAM, program, PACKAGE, package),
        "absent": [OBSOLETE_PROGRAM],
        "without_engine": [],
    }
    for job in jobs:
        name = job["name"]
        engine = engines.get(job["engine"]) or {"uid": None}
        wanted: list[dict[str, Any]] = []
        if job["state"] != "absent" and engine["uid"] is None:
            found["without_engine"].append(name)
            continue
        if job["state"] != "absent":
            directory = {"path": STATE_DIRECTORY.format(name), "owner": engine["uid"], "group": engine["gid"]}
            found["directories"].append(directory)
            wanted.append({"path": SETTINGS.format(name), "content": _settings(job, engine, host)})
        if job["state"] == "present" and job["at"]:
            wanted.append(_schedule(job, host, mailto))
        possible = {SETTINGS.format(name), f"/etc/cron.daily/carrel-{name}"}
        if shares_file_with(name) not in others:
            possible.add(f"/etc/cron.d/carrel-{name}")
        found["files"] += wanted
        found["absent"] += [*sorted(possible - {file["path"] for file in wanted}), f"{job['directory']}/reset.json"]
    return found


def packages(jobs: Iterable[Job]) -> list[str]:
    """Return Debian's packages that the jobs need."""
    scheduled = [job for job in jobs if job["state"] == "present" and job["at"]]
    return ["cron"] * bool(scheduled) + ["tzdata"] * bool(zones(scheduled))


def zones(jobs: Iterable[Job]) -> list[str]:
    """Return the time zones that the host must know. Without them, no reset would ever be due."""
    return sorted({job["timezone"] for job in jobs if job["state"] == "present" and job["at"] and job["timezone"]})


def longest(settings: Mapping[str, Any]) -> int:
    """Return how many seconds a reset may work, without waiting for people. Without settings, the defaults count."""
    commands = sum(int(settings["command_seconds"]) for key in ("before", "after") if settings.get(key))
    smoke = int(settings.get("smoke_seconds", 0))
    if smoke and settings["kind"] == "hub":
        smoke = len(settings["images"]) * (smoke + TRIAL_SECONDS)
    return sum(int(settings.get(key, default)) for key, default in _AT_WORK.items()) + smoke + commands + SPARE_SECONDS


def _share_minutes(job: Job, host: str) -> int:
    """Return the host's share of the spread. It is always the same, and differs between hosts."""
    digest = hashlib.sha256(f"{host} {job['name']}".encode()).digest()
    return int.from_bytes(digest, "big") % (int(job["spread_minutes"]) + 1)


def _lead_minutes(job: Job, host: str) -> int:
    """Return the minutes from the program's start to the declared time. In cron.daily the share comes before it."""
    notice = -(-int(job["notice_seconds"]) // 60)
    return notice if job["at"] == "daily" else notice + _share_minutes(job, host)


def _settings(job: Job, engine: Mapping[str, Any], host: str) -> str:
    compose_files = ["compose.yaml", "login/compose.yaml"] if job["kind"] == "lab" else ["compose.yaml"]
    settings = {
        **{key: value for key, value in job.items() if key != "state"},
        "version": 1,
        "account": job["engine"],
        "socket": engine["socket"],
        "state_directory": STATE_DIRECTORY.format(job["name"]),
        "compose_files": [f"{job['directory']}/{file}" for file in compose_files],
        "lead_seconds": 60 * _lead_minutes(job, host),
    }
    return json.dumps(settings, indent=2, sort_keys=True) + "\n"


def _schedule(job: Job, host: str, mailto: str) -> dict[str, Any]:
    name, lead = job["name"], _lead_minutes(job, host)
    command = f"{PROGRAM} {name} --scheduled"
    if job["at"] == "daily":
        wait = f"sleep {60 * _share_minutes(job, host)}\n" if job["spread_minutes"] else ""
        script = f"#!/bin/sh\n{HEAD}{wait}exec {command}\n"
        return {"path": f"/etc/cron.daily/carrel-{name}", "content": script, "mode": "0755"}
    hour, minute = divmod((60 * int(job["at"][:2]) + int(job["at"][3:]) - lead) % (24 * 60), 60)
    if job["timezone"]:
        # Zones differ by multiples of a quarter of an hour. The program decides which start is due.
        when = f"{','.join(str(minute % 15 + quarter) for quarter in (0, 15, 30, 45))} * * * *"
    else:
        when = f"{minute} {hour} * * *"
    zone = f", {job['timezone']}" if job["timezone"] else ""
    content = (
        f"{HEAD}# {job['at']}{zone}; {lead} minutes early, to tell people, and to pull when other hosts do not\n"
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n"
        f'MAILTO="{mailto}"\n'
        f"{when} {job['engine']} {command}\n"
    )
    return {"path": f"/etc/cron.d/carrel-{name}", "content": content}


@dataclass(frozen=True)
class Outcome:
    """The result of module instance_reset."""

    message: str
    failed: bool = False
    changed: bool = False
    skipped: bool = False
    put_off: bool = False


_CAUSE = "Remove the cause, which `journalctl -t carrel-reset` shows, and reset the instance again"
# exit code: advice. For 1 and 5, the program says itself what did not change.
ADVICE = {
    1: f"{_CAUSE}.",
    USAGE: "Nothing was touched. Run the playbook carrel.jupyter.site for this host, which installs the program.",
    LOCKED: "Reset again when that has ended. {state} shows the progress of a reset.",
    5: f"{_CAUSE}, or run the playbook carrel.jupyter.site for this host.",
}
SHORT = {
    1: "it runs as before",
    USAGE: "the program or its settings are missing or wrong",
    LOCKED: "another reset or a playbook is at work in it",
    5: "IT DOES NOT ANSWER",
}
UNKNOWN = f"It is not known how far the reset got. {_CAUSE}."


def flags(options: Mapping[str, Any]) -> list[str]:
    """Return the program's flags for options of the module instance_reset."""
    people = ["--people", options["people"]] if options["people"] else []
    switches = {"--no-pull": not options["pull"], "--no-notice": not options["notice"], "--claimed": options["claimed"]}
    return people + [flag for flag, wanted in switches.items() if wanted]


def held(name: str) -> Outcome:
    return Outcome(f"{name} is held and is left as it is", skipped=True)


def foreseen(name: str) -> Outcome:
    """Return the result in check mode."""
    return Outcome(f"{name} would be reset", changed=True)


def outcome(name: str, code: int, said: str, state: Mapping[str, Any]) -> Outcome:
    """Judge a run by its exit code, its standard error and state.json."""
    own = str(state.get("message") or "")
    if code == 0 and state.get("result") == "held":
        return held(name)
    if code == 0:
        return Outcome(f"{name} was reset in {state.get('seconds')} s", changed=True)
    if code == PUT_OFF:
        return Outcome(f"{name} was put off: {own or 'people are at work'}", put_off=True)
    # Otherwise the state is from another reset, or from the step at which the program crashed.
    told = (state.get("result"), state.get("exit_code")) == ("failed", code)
    why = (own if told else said.strip()) or f"carrel-reset ended with exit code {code}"
    advice = ADVICE.get(code, UNKNOWN) if told or code in (USAGE, LOCKED) else UNKNOWN
    return Outcome(f"{why}\n{advice.format(state=STATE_DIRECTORY.format(name) + '/state.json')}", failed=True)


def healthy(state: str) -> list[str]:
    """Return the ids of the images that have worked, by state.json, which belongs to the engine's account."""
    try:
        found = {str(entry["id"]) for entry in json.loads(state)["healthy"]}
    except (ValueError, KeyError, TypeError, RecursionError):
        return []
    return sorted(filter(IMAGE_ID.fullmatch, found))


def report(host: str, names: Sequence[str], registered: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a line for each instance of a host, from the registered result of a loop over NAMES."""
    answers = {result["item"]: result for result in registered.get("results", []) if "item" in result}
    return [_reported(host, name, answers.get(name) or {"unreachable": True}) for name in names]


def _reported(host: str, name: str, answer: Mapping[str, Any]) -> dict[str, Any]:
    if answer.get("unreachable"):
        return {"line": f"{host}: {name} NOT RESET: the host was not reached", "failed": True}
    if answer.get("failed"):
        why = SHORT.get(answer.get("exit_code", 0), "see the message above")
        return {"line": f"{host}: {name} FAILED: {why}", "failed": True}
    return {"line": f"{host}: {answer['msg']}", "failed": False}
