# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps of a move on the old host."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from . import backup, claims, commands, containers, gate
from .commands import CommandError
from .run import DONE, FAILED, BackupError, Run
from .state import bring_back
from .transfer import DATABASE, PACK_BYTES, TAR, Move, as_account, backups_of, let_go, stop, write, write_record

GATE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "gate.py")
WAIT_SECONDS = 600  # requests wait no longer
GATE_SECONDS = 15  # until the gate listens
BEGUN_SECONDS = 1  # for requests that the old server is answering
APACHE = "www-data"


def send(move: Move) -> dict[str, Any]:
    """Take a snapshot, except for another part of the last one, and pack the files that were not sent yet."""
    run = move.run
    if move.given["hold"] and move.given["snapshot"]:  # only with the first part
        hold(move)
        folder = os.path.dirname(backups_of(run).path)
        os.makedirs(folder, 0o711, exist_ok=True)
        bring_back(move.directory, folder)  # no backup does it meanwhile
    if move.given["snapshot"]:
        run.state.content["series"] = backups_of(run).series  # a tag of the snapshot tells the new host
        code = backup.backup(run, brief=True)
        if code != DONE and move.given["hold"]:
            raise BackupError(f"not everything could be read: {'; '.join(run.state.entry['warnings'][:5])}")
        snapshot = run.state.entry["taken"]["snapshot"]
    else:
        snapshot = move.given["of"]
    printed = as_account(run, "find", ".", "-type", "f", "-not", "-path", "./locks/*", "-printf", "%s %P\\0")
    chosen, more = choose(printed, move.given["have"], PACK_BYTES)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(move.pack)
    with open(os.open(move.pack, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        names = [name_of(item) for item in chosen]
        as_account(run, *TAR, "--create", "--no-recursion", "--null", "--files-from=-", given=names, stdout=file)
        os.fchown(file.fileno(), int(move.given["owner"]), -1)  # who logs in to fetch it
    have = sorted({*move.given["have"], *chosen})
    return {"more": more, "have": have, "snapshot": snapshot, "pack": move.pack}


def choose(printed: str, have: Sequence[str], most: int) -> tuple[list[str], bool]:
    """Sizes and names of the next new files, and whether more remain. A snapshot goes after the files that it needs."""
    new = {item for item in printed.split("\0") if item} - set(have)
    chosen: list[str] = []
    total = 0
    for item in sorted(new, key=lambda item: (name_of(item).startswith(("index/", "snapshots/")), name_of(item))):
        size = int(item.partition(" ")[0])
        if size > most:
            raise BackupError(f"{name_of(item)} is not a file of restic: it has {size} bytes")
        if total + size > most:
            return chosen, True
        chosen.append(item)
        total += size
    return chosen, False


def name_of(item: str) -> str:
    return item.partition(" ")[2]


def hold(move: Move) -> None:
    """Let requests wait, and stop all containers that write, except the database's server."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(f"{move.folder}/go")
    state = os.path.dirname(move.run.settings.state_directory)
    open_gate(move, f"{state}/reset/lock", f"{state}/backup/lock")
    who = claims.claimant(move.run.settings.name)  # no reset or backup begins once the locks are held
    if who is not None:
        raise BackupError(f"{who} is changing its containers; try again later")
    move.run.step("hold", "requests wait")
    time.sleep(BEGUN_SECONDS)
    stop(move, spared=DATABASE)


def relay(move: Move) -> dict[str, Any]:
    """On a host to which the instance returns: the gate forwards requests until the instance is in place."""
    write(f"{move.folder}/go", json.dumps(move.given["target"]))
    open_gate(move)
    return {}


def open_gate(move: Move, *locks: str) -> None:
    name = move.run.settings.name
    begin = ["systemd-run", "--quiet", "--collect", f"--unit=carrel-move-{name}"]
    gate_of = [sys.executable, "-I", GATE, move.folder, APACHE, str(WAIT_SECONDS), *locks]
    commands.run(["systemctl", "stop", f"carrel-move-{name}"], 60, "systemctl")  # of an earlier try
    code, _unused, errors = commands.run([*begin, *gate_of], 60, "systemd-run")
    end = time.monotonic() + GATE_SECONDS
    while code == 0 and not containers.listens(f"{move.folder}/socket"):
        if time.monotonic() > end or not is_active(name):
            code = FAILED
            errors = f"a reset or a backup of {name} is running; try again later (journalctl -u carrel-move-{name})"
        time.sleep(0.05)
    if code:
        raise BackupError(errors.strip())
    write(f"{move.folder}/hold", "")


def is_active(name: str) -> bool:
    return commands.run(["systemctl", "is-active", "--quiet", f"carrel-move-{name}"], 60, "systemctl")[0] == 0


def commit(move: Move) -> dict[str, Any]:
    """Record that the new host has the instance, once it answers, whatever happens afterwards."""
    probe(move)
    if not os.path.exists(f"{move.folder}/hold"):
        raise BackupError("requests do not wait any more, so people may have written meanwhile; try again")
    who = claims.claimant(move.run.settings.name)  # with a plan from before: it would start the old copy again
    if who is not None:
        raise BackupError(f"{who} is waiting to change its containers; try again later")
    stop(move)
    content = {**move.run.record(), "state": "held", "moved_to": move.given["target"]["address"]}
    content.pop("moved_from", None)
    write_record(move, content)
    write(f"{move.folder}/go", json.dumps(move.given["target"]))
    return {}


def undo(move: Move) -> dict[str, Any]:
    """Start what a move stopped, and send the waiting requests there. It does nothing if there is nothing to undo."""
    if "moved_to" in move.run.record():
        return {"moved": True, "down": []}
    owed = list(move.run.state.owed)
    containers.start(move.run)
    end = time.monotonic() + WAIT_SECONDS
    while any(health(move.run, identity) == "starting" for identity in owed) and time.monotonic() < end:
        time.sleep(0.5)
    if os.path.exists(f"{move.folder}/hold"):
        write(f"{move.folder}/go", json.dumps({**move.given["here"], "address": "127.0.0.1", "certificates": None}))
    let_go(move)
    return {"moved": False, "down": list(move.run.state.owed.values())}


def health(run: Run, identity: str) -> str:
    try:
        return run.docker("inspect", "--format={{if .State.Health}}{{.State.Health.Status}}{{end}}", identity).strip()
    except CommandError:
        return ""


def probe(move: Move) -> dict[str, Any]:
    """Wait until a request of this host gets one of the expected answers from the new host."""
    given = move.given
    end = time.monotonic() + given["seconds"]
    while True:
        try:
            said = asyncio.run(asyncio.wait_for(ask(given["target"], given["path"]), gate.CONNECT_SECONDS))
        except (OSError, asyncio.TimeoutError) as error:
            said = f"no answer ({error or 'timeout'})"
        if said in given["expect"] or (said.isdecimal() and not given["expect"]):
            return {}
        if time.monotonic() > end:
            address = f"{given['target']['address']}:{given['target']['port']}"
            raise BackupError(f"asked for {given['path']}, {address} says {said}, not {' or '.join(given['expect'])}")
        time.sleep(0.1)


async def ask(target: Mapping[str, Any], path: str) -> str:
    """The status of the answer to a request."""
    reader, writer = await gate.connect(target)
    try:
        host = target["server_name"] + (f":{target['port']}" if target["port"] not in (80, 443) else "")
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode("ascii"))
        return (await reader.readline()).decode("ascii", "replace")[9:12]
    finally:
        writer.close()
