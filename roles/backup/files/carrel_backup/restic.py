# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""restic for one instance: its commands, its messages and its exit codes."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from . import commands
from .commands import Account, CommandError
from .escape import escape, unescape
from .inside import MARK
from .settings import Settings

# restic's exit codes, since 0.17; all others are failures.
INCOMPLETE, NO_REPOSITORY, LOCKED, WRONG_PASSWORD, INTERRUPTED = 3, 10, 11, 12, 130
ADVICE = {
    NO_REPOSITORY: "there is no repository at {repository}",
    LOCKED: "the repository is locked by another program that runs; try again when it has ended",
    WRONG_PASSWORD: "the password is not that of the repository {repository}, which keeps the one it began with",
    INTERRUPTED: "restic was interrupted",
}
MOST_ERRORS = 20_000  # that are kept; a damaged pack has parts of many files
TOO_LONG = "file name too long"
FULL = ("disk quota exceeded", "no space left on device")  # XFS reports a used quota as a full disk
BAD_DISK = "input/output error"
BROKEN = (
    "read-only file system", "stale", "connection", "not connected", "timeout", "deadline", "broken pipe", "no route",
    "unreachable", "no such host", "service unavailable", "bad gateway",
)  # fmt: skip
TAG, WHOLE = "carrel", "whole"
ON, SINCE = "on:", "since:"
SERIES = re.compile(rf"{SINCE}([0-9T:+-]{{1,40}})")  # as now() in jobs.py, for the account can write tags

Message = Callable[[Mapping[str, Any]], None]


def host_tag(host: str) -> str:
    """The tag of a host's snapshots; --host is the instance's name, so that they are found wherever it moves."""
    return f"{ON}{escape(host)}"


def host_of(tags: Sequence[str]) -> str | None:
    return next((unescape(tag.removeprefix(ON)) for tag in tags if tag.startswith(ON)), None)


def series_tags(series: str | None) -> list[str]:
    """The tag of a series that began beside older backups. A tag of the new ones also works if none can be changed."""
    return [] if series is None else [f"{SINCE}{series}"]


def series_of(tags: Sequence[str]) -> str | None:
    return next((found[1] for tag in tags if (found := SERIES.fullmatch(tag))), None)


class ResticError(Exception):
    """restic failed; the text says why and `code` is its exit code."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code


@dataclasses.dataclass
class Answer:
    code: int
    summary: dict[str, Any]
    errors: list[tuple[str, str]]  # the path and what is wrong with it
    said: list[str]
    full: bool = False  # whether there was no room for something
    broken: bool = False  # whether a disk or a connection failed
    unnamed: int = 0  # errors that were not kept
    long: int = 0  # of these, paths that are too long


@dataclasses.dataclass
class Needed:
    """The room that files of a snapshot may take; sparse and linked files take less."""

    bytes: int = 0
    largest: int = 0
    path: str = ""  # of the largest
    too_long: int = 0  # how many paths are too long to be written
    example: str = ""  # one of these


def reason(problem: str) -> str:
    """What is wrong, without the path: people choose that.

    >>> reason("open /srv/x/quota/connection: File name too long")
    'file name too long'
    """
    return problem.rpartition(": ")[2].strip().lower()


class Restic:
    """Runs restic in the account's map. While it runs, the password is in a file that only the account can read."""

    def __init__(self, settings: Settings, account: Account, lock: int | None = None) -> None:
        self.settings = settings
        self.account = account
        self.password_file = f"{settings.run_directory}/password.{os.getpid()}"
        self._lock = lock
        self._environment = {
            **settings.environment,
            "RESTIC_REPOSITORY": settings.repository,
            "RESTIC_PASSWORD_FILE": self.password_file,
            "RESTIC_CACHE_DIR": f"{settings.state_directory}/cache",
            "RESTIC_PROGRESS_FPS": "1",
            "TMPDIR": f"{settings.state_directory}/cache",
            "HOME": account.home,
        }

    def call(
        self,
        *arguments: str,
        paths: Sequence[str] | None = None,
        tell: Message | None = None,
        allowed: Sequence[int] = (0,),
    ) -> Answer:
        """Run a command; with PATHS, it runs in the view and reads these. TELL gets progress."""
        answer = Answer(0, {}, [], [])
        at: list[str] = []  # the files that it reads

        def line(text: str, error: bool) -> None:
            message = _object(text)
            kind = message.get("message_type")
            if kind == "error":
                what = str((message.get("error") or {}).get("message", ""))
                why = reason(what)
                answer.full = answer.full or why in FULL
                answer.broken = answer.broken or any(text in why for text in BROKEN) or self._is_target(why, what)
                if len(answer.errors) < MOST_ERRORS:
                    answer.errors.append((self.named(str(message.get("item", ""))), what))
                else:
                    answer.unnamed += 1
                    answer.long += why == TOO_LONG
            elif kind == "exit_error" or (error and not message and text.strip()):
                answer.said.append(str(message.get("message", text)).strip())
            elif kind == "status":
                at[:] = message.get("current_files") or []
                if tell:
                    tell(message)
            elif kind == "summary":
                answer.summary = message

        command = [*self.account.mapped(), "restic", "--json", *arguments]
        stdin = subprocess.DEVNULL
        if paths is not None:
            command = commands.seen(self.settings, command)
            stdin = os.memfd_create("paths")
            os.write(stdin, b"".join(os.fsencode(path) + b"\0" for path in paths))
            os.lseek(stdin, 0, os.SEEK_SET)
        try:
            answer.code, _unused, _unused = commands.run(
                command, self.settings.deadline_seconds, f"restic {arguments[0]}",
                stdin=stdin, environment=self._environment, line=line, lock=self._lock,
            )  # fmt: skip
        except CommandError as error:
            reading = f", at {', '.join(self.named(str(path)) for path in at[:2])}" if at else ""
            raise ResticError(f"{error}{reading}", 1) from error
        finally:
            if stdin >= 0:
                os.close(stdin)
        if answer.code not in allowed:
            raise ResticError(self._explain(arguments[0], answer.code, answer.said, answer.errors), answer.code)
        return answer

    def named(self, path: str) -> str:
        """A path as people know it: without the view's folder."""
        return path.removeprefix(f"{self.settings.run_directory}/view/").lstrip("/")

    def _is_target(self, why: str, what: str) -> bool:
        """Whether the disk with the instance is bad, not the one with the repository."""
        return why == BAD_DISK and f"read {self.settings.repository}/" not in what

    def _explain(self, command: str, code: int, said: list[str], errors: list[tuple[str, str]]) -> str:
        known = ADVICE.get(code)
        if known:
            return known.format(repository=self.settings.repository)
        last = said[:3] or [f"{path}: {what}" for path, what in errors[:3]]
        return f"restic {command} ended with exit code {code}: {'; '.join(last) or 'it said nothing'}"

    def read(self, *arguments: str, longest: int = commands.LONGEST) -> str:
        """Return the output of a command that only reads; it takes no lock, so it works while others hold one."""
        command = [*self.account.mapped(), "restic", "--json", "--no-lock", *arguments]
        try:
            code, output, errors = commands.run(
                command, self.settings.deadline_seconds, f"restic {arguments[0]}", environment=self._environment,
                longest=longest,
            )  # fmt: skip
        except CommandError as error:
            raise ResticError(str(error), 1) from error
        if code:
            said = [str(_object(line).get("message", line)).strip() for line in errors.splitlines() if line.strip()]
            raise ResticError(self._explain(arguments[0], code, said, []), code)
        return output

    def size(self, snapshot: str, paths: Sequence[str], room: int | None = None) -> Needed:
        """The size of the snapshot's files at these paths, and which paths have more bytes than there is ROOM for.

        Sparse and linked files count in full. Equal inodes do not show that they are linked: snapshots of btrfs have
        them, too, and restic's list does not name the device.
        """
        found = Needed()

        def add(node: Mapping[str, Any]) -> None:
            path, size = str(node.get("path", "")).lstrip("/"), int(node.get("size") or 0)
            # The mark stands for one byte that is not UTF-8.
            if room is not None and len(path.replace(MARK, "?").encode("utf-8", "replace")) > room:
                found.too_long, found.example = found.too_long + 1, found.example or path
            if node.get("type") == "file":
                found.bytes += size
                if size > found.largest:
                    found.largest, found.path = size, path

        self.walk(snapshot, paths, add)
        return found

    def walk(self, snapshot: str, paths: Sequence[str], take: Message) -> None:
        """Give TAKE each file and directory of the snapshot at these paths, one by one: there may be millions."""
        self._list("node", take, "ls", "--recursive", snapshot, *(f"/{path}" for path in paths))

    def rewritten(self, before: str, after: str) -> list[str]:
        """The files whose content differs between two snapshots, also if size and time do not."""
        found: list[str] = []

        def take(change: Mapping[str, Any]) -> None:
            if "M" in str(change.get("modifier")):
                found.append(str(change["path"]).lstrip("/"))

        self._list("change", take, "diff", before, after)
        return found

    def _list(self, kind: str, take: Message, *arguments: str) -> None:
        """Give TAKE each message of a kind."""
        said = []

        def line(text: str, error: bool) -> None:
            message = _object(text)
            if error:
                said.append(str(message.get("message", text)).strip())
            elif message.get("message_type") == kind:
                take(message)

        command = [*self.account.mapped(), "restic", "--json", "--no-lock", *arguments]
        try:
            code, _unused, _unused = commands.run(
                command, self.settings.deadline_seconds, f"restic {arguments[0]}", environment=self._environment,
                line=line,
            )  # fmt: skip
        except CommandError as error:
            raise ResticError(str(error), 1) from error
        if code:
            raise ResticError(self._explain(arguments[0], code, said, []), code)

    def snapshots(self) -> list[dict[str, Any]]:
        """The snapshots of this instance, oldest first."""
        found = json.loads(self.read("snapshots", f"--tag={TAG}", f"--host={self.settings.name}"))
        return sorted(found, key=lambda snapshot: str(snapshot["time"]))


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
