# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role backup installs, and the results of its program."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._shared.disk import size
from ansible_collections.carrel.jupyter.plugins.module_utils._site.cron import check_mailto, program_files

PROGRAM = "/usr/local/sbin/carrel-backup"
PACKAGE = "/usr/local/lib/carrel/carrel_backup"
SETTINGS = "/etc/carrel/backup/{}.json"
SECRETS = "/etc/carrel/backup/{}.secrets.json"
SCHEDULE = "/etc/cron.d/carrel-backup-{}"
STATE_DIRECTORY = "/var/lib/carrel/{}/backup"
# A hub's container has this directory, and asks there for files that its users want back.
PAGE_DIRECTORY = "/var/lib/carrel/{}/page"
PAGE_SOCKET = "carrel-backup-page-{}.socket"
PAGE_SERVICE = "carrel-backup-page-{}@.service"
UNITS = "/etc/systemd/system/"
MOST_REQUESTS = 12  # at once; the hub's page sends eight at most
RUN_DIRECTORY = "/run/carrel/backup/{}"
HEAD = "# Managed by carrel.jupyter, role backup\n"
DRILL_LATER_HOURS = 8  # so that the night's backups have ended
SUNDAY = 0
MOST_PADDING = 64  # the engine's account can write tags of any length into its repository
DONE, FAILED, USAGE, LOCKED, INCOMPLETE = range(5)  # exit codes of the program

Job = Mapping[str, Any]
_SETTINGS = (
    "name", "kind", "directory", "token_file", "exclude", "keep", "append_only", "deadline_seconds", "at", "drill",
)  # fmt: skip


def install(
    jobs: Sequence[Job],
    engines: Mapping[str, Any],
    instances: Container[str],
    host: str,
    mailto: str,
    program: str,
    package: Mapping[str, str],
) -> dict[str, Any]:
    """Return what install_files makes, writes and removes for the jobs of a host.

    PROGRAM is the text of the command, PACKAGE has the text of each file of its package. `without_engine` names the
    instances that are left out, because the account of their engine does not exist yet. An absent instance that is
    still among the host's INSTANCES keeps its settings, for a last backup. Raises ValueError.
    """
    check_mailto("backup_mailto", mailto)
    found: dict[str, Any] = {
        "directories": [],
        "files": program_files(PROGRAM, program, PACKAGE, package),
        "secret_contents": {},
        "absent": [],
        "without_engine": [],
    }
    for job in jobs:
        name = job["name"]
        engine = engines.get(job["engine"]) or {"uid": None}
        wanted: list[dict[str, Any]] = []
        if is_kept(job) and not (engine["uid"] is not None and engine["subuid"] and engine["subgid"]):
            found["without_engine"].append(name)
            continue
        if is_kept(job):
            wanted = [
                {"path": SETTINGS.format(name), "content": _settings(job, engine, host)},
                {"path": SECRETS.format(name), "mode": "0600"},
            ]
            found["secret_contents"][SECRETS.format(name)] = _secrets(job)
            if job["backup"]["at"]:
                wanted.append({"path": SCHEDULE.format(name), "content": _schedule(job, host, mailto)})
        if has_page(job):
            found["directories"] += page_directories(name, engine["gid"])
            wanted += [
                {"path": UNITS + PAGE_SOCKET.format(name), "content": _socket(name, engine["gid"])},
                {"path": UNITS + PAGE_SERVICE.format(name), "content": _service(name)},
            ]
        units = (UNITS + PAGE_SOCKET, UNITS + PAGE_SERVICE) if job["kind"] == "hub" else ()
        kept = (SETTINGS, SECRETS) if job["state"] == "absent" and job["last_backup"] and name in instances else ()
        possible = {path.format(name) for path in (SETTINGS, SECRETS, SCHEDULE, *units) if path not in kept}
        found["files"] += wanted
        found["absent"] += sorted(possible - {file["path"] for file in wanted})
    return found


def is_kept(job: Job) -> bool:
    """Whether the instance has backups. Held instances have them, too."""
    return job["state"] != "absent" and job["backup"] is not None


def has_page(job: Job) -> bool:
    """Whether users can bring files back by themselves."""
    return is_kept(job) and job["kind"] == "hub"


def page_directories(name: str, group: int) -> list[dict[str, Any]]:
    """Return the directories. They must exist before the socket: systemd would make them for root alone."""
    return [
        {"path": f"/var/lib/carrel/{name}", "mode": "0755"},
        {"path": PAGE_DIRECTORY.format(name), "group": group, "mode": "0750"},
    ]


def sockets(jobs: Iterable[Job], listed: str, without_engine: Sequence[str] = ()) -> dict[str, list[Any]]:
    """Return the sockets to open, for systemd_units, and to close. LISTED is what systemctl list-units prints."""
    loaded = {row.split()[0] for row in listed.splitlines() if row.strip()}
    units = {PAGE_SOCKET.format(job["name"]): job for job in jobs}
    return {
        "open": [{"name": unit} for unit, job in units.items() if has_page(job) and job["name"] not in without_engine],
        "close": [unit for unit, job in units.items() if not has_page(job) and unit in loaded],
    }


def packages(jobs: Iterable[Job]) -> list[str]:
    """Return Debian's packages that the jobs need. util-linux, with setpriv, unshare and ionice, is on each host."""
    kept = [job for job in jobs if is_kept(job)]
    return ["restic", "uidmap"] * bool(kept) + ["cron"] * any(job["backup"]["at"] for job in kept)


def on_host(job: Job, engine: Mapping[str, Any], host: str) -> dict[str, Any]:
    """Return what the program must know about the host and the engine's account."""
    return {
        "version": 1,
        "host": host,
        "account": job["engine"],
        "socket": engine["socket"],
        "subuid": engine["subuid"],
        "subgid": engine["subgid"],
    }


def _settings(job: Job, engine: Mapping[str, Any], host: str) -> str:
    values = {**job, **job["backup"]}
    settings = {
        **{key: values[key] for key in _SETTINGS},
        **on_host(job, engine, host),
        "repository": f"{job['backup']['repository'].rstrip('/')}/{job['name']}",
        "state_directory": STATE_DIRECTORY.format(job["name"]),
        "run_directory": RUN_DIRECTORY.format(job["name"]),
    }
    return json.dumps(settings, indent=2, sort_keys=True) + "\n"


def _secrets(job: Job) -> str:
    secrets = {"password": job["backup"]["password"], "environment": job["backup"]["environment"]}
    return json.dumps(secrets, indent=2, sort_keys=True) + "\n"


def _socket(name: str, group: int) -> str:
    """Return the unit. Only the hub's container and its engine's account can enter the socket's folder."""
    return (
        f"{HEAD}[Unit]\nDescription=Where the hub {name} asks for backups of people's homes\n\n"
        f"[Socket]\nListenStream={PAGE_DIRECTORY.format(name)}/socket\nSocketGroup={group}\nSocketMode=0660\n"
        f"DirectoryMode=0750\nRemoveOnStop=yes\nAccept=yes\nMaxConnections={MOST_REQUESTS}\n"
        # After too many requests, clients wait; systemd does not close the socket.
        "TriggerLimitIntervalSec=0\nPollLimitIntervalSec=2s\nPollLimitBurst=20\n\n"
        "[Install]\nWantedBy=sockets.target\n"
    )


def _service(name: str) -> str:
    return (
        f"{HEAD}[Unit]\nDescription=Answer to the hub {name} about a backup\nCollectMode=inactive-or-failed\n\n"
        f"[Service]\nExecStart={PROGRAM} answer {name}\nStandardInput=socket\nStandardOutput=socket\n"
        "StandardError=journal\nRuntimeMaxSec=3h\n"
        # The account can write anything into the repository, and restic keeps its index in memory, with threads for
        # each processor. The limit protects the rest of the host.
        "MemoryMax=2G\nTasksMax=512\n"
    )


def _share_minutes(job: Job, host: str) -> int:
    """Return the instance's share of the spread. It is always the same, and differs between instances and hosts."""
    digest = hashlib.sha256(f"backup {host} {job['name']}".encode()).digest()
    return int.from_bytes(digest, "big") % (int(job["backup"]["spread_minutes"]) + 1)


def _schedule(job: Job, host: str, mailto: str) -> str:
    at, name = job["backup"]["at"], job["name"]
    minutes = 60 * int(at[:2]) + int(at[3:]) + _share_minutes(job, host)
    hour, minute = divmod(minutes % (24 * 60), 60)
    text = (
        f"{HEAD}# {at}, and {_share_minutes(job, host)} minutes, so that not all hosts begin at once\n"
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n"
        f'MAILTO="{mailto}"\n'
        f"{minute} {hour} * * * root {PROGRAM} run {name}\n"
    )
    if job["backup"]["drill"]:
        text += f"{minute} {(hour + DRILL_LATER_HOURS) % 24} * * {SUNDAY} root {PROGRAM} drill {name}\n"
    return text


def table(snapshots: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a line for each snapshot."""
    shown = [(each["of"], each["on"] or "?") for each in snapshots]
    of, host = (min(max(map(len, column)), MOST_PADDING) for column in zip(("OF", "HOST"), *shown))
    head = f"{'ID':8}  {'TIME (UTC)':16}  {'OF':{of}}  {'HOST':{host}}"
    head += f"  {'FILES':>9} {'NEW':>7} {'CHANGED':>7} {'SIZE':>10} {'ADDED':>10}"
    return [head] * bool(snapshots) + [
        f"{each['id'][:8]:8}  {each['time'][:16]:16}  {whose:{of}}  {on:{host}}"
        f"  {each['files']:>9} {each['files_new']:>7} {each['files_changed']:>7} {size(each['bytes']):>10}"
        f" {size(each['added_bytes']):>10}"
        for each, (whose, on) in zip(snapshots, shown)
    ]


@dataclass(frozen=True)
class Outcome:
    """The result of module instance_backup."""

    message: str
    failed: bool = False
    changed: bool = False
    warning: bool = False


def arguments(options: Mapping[str, Any]) -> list[str]:
    """Return the program's arguments for options of the module instance_backup."""
    command = {"backup": "run"}.get(options["command"], options["command"])
    found = [command, options["name"]]
    for key in ("user", "group", "snapshot", "path"):
        if options.get(key) is not None:
            found += [f"--{key}={options[key]}"]
    switches = ("overwrite", "stop", "image", "beside", "accept_damaged", "accept_size")
    return found + [f"--{key.replace('_', '-')}" for key in switches if options.get(key)]


def outcome(name: str, command: str, code: int, said: str, state: Mapping[str, Any]) -> Outcome:
    """Judge a run by its exit code, its standard error and the entry of state.json."""
    own = str(state.get("message") or "")
    if code == DONE and command == "drill" and state.get("result") != "done":
        return Outcome(f"drill of {name}: there is no backup yet, so there is nothing to try")
    if code == DONE:
        return Outcome(f"{command} of {name}: {own}", changed=True)
    if code == INCOMPLETE:
        named = "; ".join(str(warning) for warning in list(state.get("warnings") or [])[:5])
        return Outcome(f"{command} of {name}, not complete: {own}; {named}", changed=True, warning=True)
    if code == LOCKED:
        return Outcome(
            f"{command} of {name}: a backup, restore, drill or move of it is running; try again later", failed=True
        )
    if code == USAGE:
        return Outcome(f"{said.strip() or 'wrong settings'}", failed=True)
    return Outcome(f"{command} of {name} failed: {own or said.strip() or f'exit code {code}'}", failed=True)
