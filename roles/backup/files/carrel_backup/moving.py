# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps of a move, for the module instance_move: carrel-backup move STEP, with settings as JSON on standard input.

Files move through a restic repository on each host, which the engines' accounts read and write in their own maps of
ids. The old host adds a snapshot, the repository's new files are copied as a tar, and the new host updates a tree
beside the instance to it. So the last round copies only changes, and directories are put in place by renaming them.
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from typing import Any

from . import commands, files, restore, settings
from .commands import CommandError
from .jobs import SettingsError
from .journal import Journal
from .receiving import pause, receive, settle
from .restic import Restic, ResticError
from .run import DONE, FAILED, LOCKED, BackupError, Run
from .sending import commit, probe, relay, send, undo
from .state import State
from .transfer import Move, as_account, let_go, write

HURRY = ("commit", "undo")  # while requests wait
LOCK_SECONDS = 60  # a step of a run that was killed goes on until it ends
LOOK_SECONDS = 0.5
AT_WORK = (
    "another step of the move is running, perhaps of a run that was killed: run the playbook again once it has ended"
    " (journalctl -t carrel-backup)"
)


def begin(move: Move) -> dict[str, Any]:
    """Record which move it is. Files that an interrupted move between the same hosts has copied stay."""
    run = move.run
    path = f"{run.settings.state_directory}/move.json"
    wanted = {"from": move.given["from"], "to": move.given["to"], "password": run.settings.password}
    before = json.loads(files.read(path)) if os.path.exists(path) else wanted
    if (before["from"], before["to"]) != (wanted["from"], wanted["to"]):
        raise BackupError(
            f"a move of it from {before['from']} to {before['to']} has not ended: run that one again, or give it up by"
            f" removing {run.settings.state_directory}"
        )
    if move.given["here"] == wanted["from"]:  # it makes the password
        wanted = before
    elif before != wanted:
        run.inside("empty", run.settings.repository)
    write(path, json.dumps(wanted), 0o600)
    # With sizes: a file that arrived only in part is sent again.
    found = as_account(run, "find", ".", "-type", "f", "-printf", "%s %P\\0").split("\0")
    return {"have": sorted(filter(None, found)), "password": wanted["password"]}


def finish(move: Move) -> dict[str, Any]:
    """Remove the move's own files; what was in place before stays in data/.kept."""
    if os.path.isdir(move.tree):
        restore.remove_beside(move.run, os.path.dirname(move.tree))
    shutil.rmtree(move.run.settings.state_directory)
    return {}


STEPS: dict[str, Callable[[Move], dict[str, Any]]] = {
    step.__name__: step
    for step in (begin, probe, relay, send, receive, pause, commit, settle, undo, let_go, finish)
}  # fmt: skip


def main(step: str) -> int:
    """Do a step; its answer is JSON on standard output."""
    os.umask(0o022)
    run = None
    try:
        given = json.load(sys.stdin)
        wrong = settings.problems(given["settings"])
        if wrong:
            raise SettingsError("; ".join(wrong))
        run = start(settings.of(given["settings"]), step in HURRY or given.get("hold", given.get("place", False)))
        run.state.begin("restore" if step == "receive" else "backup", step)
        run.prepare()
        answer = STEPS[step](Move(run, given))
    except BlockingIOError:
        print(AT_WORK, file=sys.stderr)
        return LOCKED
    except (BackupError, CommandError, ResticError, SettingsError, OSError, ValueError, KeyError) as error:
        print(error if not isinstance(error, KeyError) else f"{error} is missing", file=sys.stderr)
        return FAILED
    finally:
        if run is not None:
            run.tidy()
    json.dump(answer, sys.stdout)
    return DONE


def start(found: settings.Settings, hurry: bool) -> Run:
    account = dataclasses.replace(commands.account_of(found), kindly=not hurry)
    os.makedirs(found.state_directory, 0o711, exist_ok=True)
    lock = os.open(f"{found.state_directory}/lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    wait_for(lock)
    state = State(f"{found.state_directory}/state.json", found.name)
    return Run(found, account, Restic(found, account, lock), Journal(found.name, "move", "carrel-backup"), state, lock)


def wait_for(lock: int) -> None:
    """Take the lock. Raises BlockingIOError if another step keeps it."""
    end = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                raise
        time.sleep(LOOK_SECONDS)
