# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One answer to the page on which a hub's users restore their own files: carrel-backup answer NAME.

The hub asks through a socket that only the hub can open. It says who the user is, as it does for everything else. It
gets names, and the files are put into that user's home. It never sees the password of the repository.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import select
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from . import asked, files, owners, partial, targets, trees
from .asked import Asked, RefusedError
from .commands import Account, CommandError
from .disk import size
from .escape import escape
from .inside import MISSING
from .journal import Journal
from .placing import join_project
from .restic import Restic, ResticError
from .restore import guarded, literal, remove_beside, room
from .run import DONE, FAILED, BackupError, Run
from .settings import Settings
from .snapshots import described, label
from .state import State

ASK_SECONDS = 10
LOOK_SECONDS = 120  # for a list of snapshots, or of a folder
BRING_SECONDS = 2 * 60 * 60
BRINGING = "data/.bringing"
UNREADABLE = "The backups cannot be read at the moment. Your administrator finds the reason in the journal of the host."
ABSENT = "It is not in this backup."
BUSY = "Another restore is running for you. Wait until it has ended."
CROWDED = "The host has too little free space. Bring back a part of it, or ask your administrator."
FULL = "It does not fit into your home: bring back a part of it, or make room first."
NO_HOME = "Your home is not there yet. Start your server once, and try again."

Tell = Callable[[Mapping[str, Any]], None]


class Unwritten(State):
    """The state of a run that has no entry in state.json: a backup may write there at the same time."""

    def __init__(self) -> None:
        super().__init__("", "")
        self.content["answer"] = {"step": "", "warnings": []}
        self._command = "answer"

    def write(self) -> None:
        pass


def main(settings: Settings, account: Account) -> int:
    """Read the request from standard input, and print lines of JSON; the last one has `done` or `refused`."""

    def tell(content: Mapping[str, Any]) -> None:
        with contextlib.suppress(OSError):  # a user who closed the page still gets the files
            print(json.dumps(content), flush=True)

    journal = Journal(settings.name, "request", "carrel-backup")
    code, said = answer(settings, account, journal, request(), tell)
    tell(said)
    return code


def request() -> str:
    """The first line of standard input. A request that comes too late gets no answer."""
    text = bytearray()
    end = time.monotonic() + ASK_SECONDS
    while b"\n" not in text and len(text) <= asked.LONGEST:
        if not select.select([0], [], [], max(end - time.monotonic(), 0))[0]:
            break
        part = os.read(0, asked.LONGEST)
        if not part:
            break
        text += part
    return bytes(text[: asked.LONGEST]).partition(b"\n")[0].decode("utf-8", "replace")


def answer(settings: Settings, account: Account, journal: Journal, text: str, tell: Tell) -> tuple[int, dict[str, Any]]:
    """Return the exit code, and the last line."""
    try:
        if settings.kind != "hub":
            raise RefusedError("Only the people of a hub have homes of their own.")
        wanted = asked.read(text)
        with lock(settings, wanted) as held:
            return DONE, {"done": act(settings, account, journal, wanted, held, tell)}
    except RefusedError as refused:
        return DONE, {"refused": str(refused)}
    except trees.MissingError:
        return DONE, {"refused": ABSENT}
    except (BackupError, CommandError, ResticError, OSError, ValueError, KeyError) as error:
        journal.error("answer", f"{type(error).__name__}: {error}")
        return FAILED, {"refused": UNREADABLE}


def act(settings: Settings, account: Account, journal: Journal, wanted: Asked, held: int | None, tell: Tell) -> Any:
    seconds = BRING_SECONDS if wanted.what == "bring" else LOOK_SECONDS
    settings = dataclasses.replace(settings, deadline_seconds=min(seconds, settings.deadline_seconds))
    run = Run(settings, account, Restic(settings, account, held), journal, Unwritten(), -1 if held is None else held)
    try:
        run.prepare()
        run.check_server()
        found = [{**described(each), "paths": each.get("paths") or []} for each in run.restic.snapshots()]
        state = State(f"{settings.state_directory}/state.json", settings.name)
        owner = owners.recorded(settings).get(wanted.user)
        mine = asked.of_user(found, wanted, settings.host, state, owner.since if owner else 0)
        if wanted.what == "snapshots":
            return {"snapshots": [{"id": each["id"], "time": asked.when(each["time"])} for each in mine]}
        snapshot = next((each for each in mine if each["id"] == wanted.snapshot), None)
        if snapshot is None:
            raise RefusedError(asked.NO_SNAPSHOT)
        if wanted.what == "folder":
            return look(run, wanted, snapshot)
        return bring(run, wanted, snapshot, tell)
    finally:
        run.tidy()


def look(run: Run, wanted: Asked, snapshot: Mapping[str, Any]) -> dict[str, Any]:
    entries = trees.folder(run.restic, snapshot["id"], wanted.inside)
    first = wanted.page * asked.PAGE
    return {
        "time": asked.when(snapshot["time"]), "total": len(entries), "pages": -(-len(entries) // asked.PAGE),
        "entries": entries[first : first + asked.PAGE],
    }  # fmt: skip


@contextlib.contextmanager
def lock(settings: Settings, wanted: Asked) -> Iterator[int | None]:
    """Let a user do one restore at a time, and not too often. Lists need no lock."""
    if wanted.what != "bring":
        yield None
        return
    check_home(settings, wanted)  # first, or every unknown name would leave a file
    folder = f"{settings.state_directory}/bringing"
    os.makedirs(folder, 0o700, exist_ok=True)
    descriptor = opened_lock(folder, escape(wanted.user))
    if descriptor is None:
        raise RefusedError(BUSY)
    try:
        text = json.dumps([*asked.recent(noted(descriptor), time.time()), time.time()]).encode()
        os.ftruncate(descriptor, os.pwrite(descriptor, text, 0))
        yield descriptor
    finally:
        os.close(descriptor)


def check_home(settings: Settings, wanted: Asked) -> None:
    try:
        os.close(targets.opened(f"{settings.directory}/{wanted.leaf}"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise RefusedError(NO_HOME) from error


def noted(descriptor: int) -> list[object]:
    """When the user asked before. A file that a crash has damaged counts as never, so that it locks nobody out."""
    try:
        found = json.loads(os.pread(descriptor, files.LONGEST, 0) or b"[]")
    except ValueError:
        return []
    return found if isinstance(found, list) else []


def opened_lock(folder: str, name: str) -> int | None:
    """The user's lock, held until the last program with its descriptor ends; None if somebody holds it."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(f"{folder}/{name}", flags, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def bring(run: Run, wanted: Asked, snapshot: Mapping[str, Any], tell: Tell) -> dict[str, Any]:
    """Restore into a separate tree, and move it into a new folder of the home in one step."""
    home = f"{run.settings.directory}/{wanted.leaf}"
    *above, name = wanted.inside
    if all(each["name"] != name for each in trees.folder(run.restic, snapshot["id"], above)):
        raise RefusedError(ABSENT)
    what = "/".join(wanted.parts) or "the whole home"
    run.journal.info("bring", f"{wanted.user} brings back {what} of the snapshot {snapshot['id'][:8]}")

    def percent(status: Mapping[str, Any]) -> None:
        tell({"percent": round(100 * float(status.get("percent_done") or 0))})

    with beside(run, escape(wanted.user), home) as tree:
        check_room(run, snapshot["id"], "/".join(wanted.inside))  # what killed runs left is gone by now
        restored = run.restic.call(
            "restore", f"{snapshot['id']}:/{'/'.join(above)}", f"--target={tree}/restored",
            f"--include=/{literal(name)}", "--no-lock", "--sparse",
            allowed=range(256),
            tell=guarded(run, percent, RefusedError(CROWDED)),
        )  # fmt: skip
        if restored.full:
            raise RefusedError(FULL)
        partial.refuse(restored, f"{tree}/restored")
        name_of_folder = label(snapshot["time"])
        folder = run.inside("bring", tree, f"restored/{name}", home, name_of_folder, given=not wanted.parts)
        if folder == MISSING:
            raise RefusedError(ABSENT)
    run.journal.info("bring", f"{wanted.user} has it in {folder}")
    return {"folder": folder}


def check_room(run: Run, snapshot: str, path: str) -> None:
    needed, free = run.restic.size(snapshot, [path]).bytes, room(run)
    if needed > free:
        raise RefusedError(
            f"There is too little room: it has {size(needed)}, and {size(max(free, 0))} may be filled. Bring back a"
            " part of it, or ask your administrator."
        )


@contextlib.contextmanager
def beside(run: Run, name: str, home: str) -> Iterator[str]:
    """A folder on the same file system, in the quota of the home. Removed at the end, also after killed runs."""
    folder = f"{run.settings.directory}/{BRINGING}"
    os.makedirs(folder, 0o711, exist_ok=True)
    for other in os.listdir(folder):
        held = None if other == name else opened_lock(f"{run.settings.state_directory}/bringing", other)
        if held is None and other != name:
            continue
        try:
            remove_beside(run, f"{folder}/{other}")
        except (CommandError, OSError) as error:
            if other == name:
                raise
            run.journal.warning("bring", f"what is left in {folder}/{other} cannot be removed: {error}")
        finally:
            if held is not None:
                os.close(held)
    own = f"{folder}/{name}"
    os.mkdir(own, 0o711)
    try:
        run.own(f"{own}/tree")
        join_project(f"{own}/tree", home)
        yield f"{own}/tree"
    finally:
        remove_beside(run, own)
