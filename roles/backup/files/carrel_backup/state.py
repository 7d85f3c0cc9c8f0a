# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""state.json: the results of the last backup, restore and drill. Only root writes it, so it can be trusted."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

from . import files, printable
from .jobs import now

VERSION = 1
HISTORY = 30
WARNINGS = 100
EVERY_SECONDS = 5
COMMANDS = ("backup", "restore", "drill")
KEPT = ".backup"  # in an instance's directory: where instance_archive puts these files
FILES = ("state.json", "leaves.json")


def bring_back(directory: str, state_directory: str) -> None:
    """Take the files of a removed instance that is back from the archive, so that its backups go on."""
    for name in FILES:
        kept, path = f"{directory}/{KEPT}/{name}", f"{state_directory}/{name}"
        with contextlib.suppress(FileNotFoundError):
            replace(path, files.read(kept))
            os.unlink(kept)


def replace(path: str, text: str) -> None:
    """Write a file in one step. A reader gets the old or the new one."""
    fresh = f"{path}.new"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(fresh, flags, 0o644), "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.rename(fresh, path)


class State:
    """The file has an entry for the last run of each command; `history` has all, newest first; `start` is `owed`."""

    def __init__(self, path: str, name: str) -> None:
        self.path = path
        self.content: dict[str, Any] = {
            "version": VERSION,
            "name": name,
            **dict.fromkeys(COMMANDS),
            "history": [],
            "start": {},
            "begun": None,
            "series": None,
            "past": [],
            "known": [],
            "repositories": [],
        }
        self.trouble: str | None = None  # why the file could not be written
        self.interrupted: str | None = None  # the step at which an earlier run was killed
        self._began = self._written = 0.0
        self._command = ""
        try:
            before = json.loads(files.read(path))
            if before["version"] == VERSION:
                self.content.update({key: before[key] for key in self.content if key in before})
        except (OSError, ValueError, KeyError, TypeError):
            return

    @property
    def entry(self) -> dict[str, Any]:
        """The entry of the running command."""
        found: dict[str, Any] = self.content[self._command]
        return found

    @property
    def owed(self) -> dict[str, str]:
        """Ids and names of containers that a restore stopped and has not started again."""
        found: dict[str, str] = self.content["start"]
        return found

    def owe(self, containers: Mapping[str, str]) -> None:
        """Raises OSError."""
        self.owed.update({identity: printable.text(name) for identity, name in containers.items()})
        self.write()

    def paid(self, identity: str) -> None:
        del self.owed[identity]
        self.note()

    @property
    def begun(self) -> str | None:
        """When this host's own backups began: with its first one, a restore of the whole instance, or --anew."""
        found: str | None = self.content["begun"]
        return found

    @property
    def series(self) -> str | None:
        """When --anew began the series to which the backups belong; None: the first one."""
        found: str | None = self.content["series"]
        return found

    @property
    def past(self) -> list[str]:
        """Other hosts with backups of the series: the instance was restored from their backups, or moved from there."""
        found: list[str] = self.content["past"]
        return found

    @property
    def known(self) -> list[str] | None:
        """Snapshots of `past` that are later than `begun` only by another clock; None: not looked for yet."""
        found: list[str] | None = self.content["known"]
        return found

    def know(self, snapshots: Sequence[str]) -> None:
        self.content["known"] = list(snapshots)
        self.write()

    def note_repository(self, path: str) -> None:
        """A directory of this host, which a purge of the instance takes from the account."""
        if path not in self.content["repositories"]:
            self.content["repositories"].append(path)
            self.note()

    def begin_past(self) -> None:
        """The first backup."""
        if self.begun is None:
            self.content["begun"] = now()
            self.write()

    def begin_anew(self) -> None:
        self.content.update(begun=now(), series=now(), past=[], known=[])
        self.write()

    def go_on(self, after: str | None, series: str | None) -> None:
        """Continue a series of AFTER, a host."""
        past = self.past if series == self.series else []
        if after is not None and after not in past:
            past = [*past, after]
        self.content.update(begun=now(), series=series, past=past, known=None)
        self.write()

    def last(self, command: str) -> dict[str, Any]:
        return self.content[command] or {}

    def begin(self, command: str, what: str) -> None:
        for other in COMMANDS:
            last = self.content[other]
            if last and last["result"] == "running":
                self.interrupted = f"{other} at step {last['step']}"
                last.update(result="interrupted", message=f"interrupted at step {last['step']}")
                self._remember(other, last)
        self._command, self._began = command, time.monotonic()
        good = self.last(command).get("good")
        taken = self.last(command).get("taken", good)
        self.content[command] = {
            "what": what, "result": "running", "step": "begin", "message": "", "exit_code": None, "started": now(),
            "ended": None, "seconds": None, "progress": None, "warnings": [], "good": good,
            "taken": taken,
        }  # fmt: skip
        self.note()

    def step(self, step: str, message: str) -> None:
        self.entry.update(step=step, message=printable.text(message), progress=None)
        self.note()

    def progress(self, content: dict[str, Any]) -> None:
        """Record the progress of a long step, every few seconds."""
        self.entry["progress"] = content
        if time.monotonic() - self._written > EVERY_SECONDS:
            self.note()

    def warn(self, text: str) -> None:
        if len(self.entry["warnings"]) < WARNINGS:
            self.entry["warnings"].append(printable.text(text))
            self.note()

    def finish(self, result: str, message: str, exit_code: int, good: bool = True, **found: Any) -> None:
        """FOUND: facts about the run; `taken` keeps those of the last run that has some, `good` those of a good one."""
        entry = self.entry
        seconds = round(time.monotonic() - self._began, 1)
        entry.update(result=result, message=printable.text(message), exit_code=exit_code, ended=now(), seconds=seconds)
        entry.update(progress=None)
        if found:
            entry["taken"] = {"ended": entry["ended"], **found}
            if good:
                entry["good"] = entry["taken"]
        self._remember(self._command, entry)
        self.note()

    def _remember(self, command: str, entry: dict[str, Any]) -> None:
        kept = ("what", "result", "message", "started", "ended", "seconds")
        self.content["history"] = [
            {"command": command, **{key: entry[key] for key in kept}}, *self.content["history"]
        ][:HISTORY]  # fmt: skip

    def note(self) -> None:
        """Write it if that is possible: a full disk must not keep stopped containers from starting."""
        try:
            self.write()
            self.trouble = None
        except OSError as error:
            self.trouble = f"{self.path} could not be written: {error}"

    def write(self) -> None:
        self._written = time.monotonic()
        replace(self.path, json.dumps(self.content, indent=1, ensure_ascii=True))
