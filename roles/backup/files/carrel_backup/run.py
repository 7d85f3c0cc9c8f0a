# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A run of carrel-backup: what every command needs."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import socket
import subprocess
import sys
import urllib.parse
from collections.abc import Mapping
from typing import Any

from . import commands, files, targets
from .commands import INSIDE, Account, CommandError
from .journal import Journal
from .restic import Restic
from .settings import Settings
from .state import State

DONE, FAILED, USAGE, LOCKED, INCOMPLETE = range(5)  # exit codes
SHORT_SECONDS = 600
CONNECT_SECONDS = 30
OLDEST = (0, 17)


class BackupError(Exception):
    """The command failed; the text is for people."""


@dataclasses.dataclass
class Run:
    settings: Settings
    account: Account
    restic: Restic
    journal: Journal
    state: State
    lock: int

    @property
    def stage(self) -> str:
        return f"{self.settings.state_directory}/stage"

    def step(self, step: str, message: str) -> None:
        """Print and record the next step."""
        self.state.step(step, message)
        self.journal.info(step, message)

    def warn(self, message: str) -> None:
        """Something is not as it should be, but the run goes on."""
        self.state.warn(message)
        self.journal.warning(self.state.entry["step"], message)

    def progress(self, content: Mapping[str, Any]) -> None:
        """Report the progress of a long step: every few seconds in the state, and on a terminal."""
        keys = ("percent_done", "files_done", "total_files", "bytes_done", "total_bytes", "seconds_remaining")
        self.state.progress({key: content[key] for key in keys if key in content})
        if sys.stderr.isatty():
            percent = 100 * float(content.get("percent_done") or 0)
            print(f"\r{self.state.entry['step']:8}{percent:3.0f} %", end="\r", file=sys.stderr, flush=True)

    def prepare(self) -> None:
        """Make the account's directories, which are all in directories of root's."""
        settings = self.settings
        for directory in (settings.run_directory, settings.state_directory):
            os.makedirs(directory, 0o711, exist_ok=True)
        self.own(f"{settings.state_directory}/cache")
        for name in os.listdir(settings.run_directory):
            _unused, _unused, pid = name.partition("password.")
            if pid.isdecimal() and not os.path.exists(f"/proc/{pid}"):  # of a run that was killed
                with contextlib.suppress(FileNotFoundError):  # another run found it, too
                    os.unlink(f"{settings.run_directory}/{name}")
        self.tidy()
        self.write(self.restic.password_file, settings.password)
        if settings.local and not os.path.lexists(settings.repository):
            os.makedirs(os.path.dirname(settings.repository), 0o711, exist_ok=True)
            self.own(settings.repository)
        elif settings.local:
            targets.give(settings.repository, self.account.uid, self.account.gid)

    def check_server(self) -> None:
        """Refuse a REST server that does not answer: restic would try for a quarter of an hour, and keep the lock."""
        address = self.settings.repository.removeprefix("rest:")
        if address == self.settings.repository or any(
            name.lower().endswith("_proxy") for name in self.settings.environment
        ):
            return
        parts = urllib.parse.urlsplit(address)
        port = parts.port or {"https": 443}.get(parts.scheme, 80)
        try:
            socket.create_connection((parts.hostname or "", port), CONNECT_SECONDS).close()
        except OSError as error:
            raise BackupError(f"the repository's server {parts.hostname}:{port} cannot be reached: {error}") from error

    def check_restic(self) -> None:
        """Refuse a restic whose exit codes do not tell the kinds of errors apart."""
        said = json.loads(self.restic.read("version"))["version"]
        if tuple(map(int, re.findall(r"\d+", said)[:2])) < OLDEST:
            raise BackupError(f"restic {said} is too old; it must be {'.'.join(map(str, OLDEST))} or later (Debian 13)")

    def tidy(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.restic.password_file)

    def own(self, path: str) -> None:
        """Make a directory of the account's in one of root's."""
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, 0o700)
        descriptor = os.open(path, targets.DIRECTORY)
        try:
            os.fchown(descriptor, self.account.uid, self.account.gid)
        finally:
            os.close(descriptor)

    def write(self, path: str, text: str) -> None:
        """Write a new file for the account in a directory of root's."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(path, flags, 0o600), "w", encoding="utf-8", errors="surrogateescape") as file:
            os.fchown(file.fileno(), self.account.uid, self.account.gid)
            file.write(text)

    def record(self) -> dict[str, Any]:
        """instance.json, the record of the deployed instance."""
        path = f"{os.path.dirname(self.settings.state_directory)}/instance.json"
        try:
            found: dict[str, Any] = json.loads(files.read(path))
        except (OSError, ValueError) as error:
            raise BackupError(f"{path}: {error}; run the site playbook first") from error
        return found

    def leaves(self) -> list[str]:
        try:
            return targets.leaves(self.settings.directory, self.account.uid, self.account.groups)
        except OSError as error:
            raise BackupError(f"the instance's directory: {error}") from error

    def inside(self, *arguments: str, given: Any = None, seen: bool = False, seconds: float | None = None) -> Any:
        """Run inside.py and return its answer. Raises CommandError, with the exit code."""
        command = [*self.account.mapped(), sys.executable, "-I", INSIDE, *arguments]
        if seen:
            command = commands.seen(self.settings, command)
        with os.fdopen(os.memfd_create("given"), "w+b", buffering=0) as stream:
            for part in json.JSONEncoder().iterencode(given):
                stream.write(part.encode("ascii"))
            stream.seek(0)
            code, output, errors = commands.run(
                command, seconds or self.settings.deadline_seconds, arguments[0], stdin=stream.fileno(), lock=self.lock
            )
        if code:
            raise CommandError(errors.strip() or f"{arguments[0]} ended with exit code {code}", code)
        try:
            return json.loads(output)
        except ValueError as error:
            raise CommandError(f"{arguments[0]}: {error}") from error

    def docker(
        self,
        *arguments: str,
        stdin: int = subprocess.DEVNULL,
        target: str | None = None,
        seconds: float | None = None,
        errors_too: bool = False,
    ) -> str:
        """Run docker as the account; with TARGET, the output goes to that file of the account. Raises CommandError."""
        command = [*self.account.itself(), "docker", "--host", f"unix://{self.settings.socket}", *arguments]
        with contextlib.ExitStack() as opened:
            file = None
            if target is not None:
                self.write(target, "")
                file = opened.enter_context(open(target, "wb"))
            usual = self.settings.deadline_seconds if target or stdin >= 0 else SHORT_SECONDS
            code, output, errors = commands.run(
                command, seconds or usual, f"docker {arguments[0]}", stdin=stdin, stdout=file,
                environment={"HOME": self.account.home}, lock=self.lock,
            )  # fmt: skip
        if code:
            said = errors.strip()[-2000:] or f"it ended with exit code {code}"
            raise CommandError(f"docker {arguments[0]}: {said}", code)
        return f"{output}{errors}" if errors_too else output

    def containers(self, *filters: str, running: bool = True) -> list[dict[str, str]]:
        """Containers with these labels or volumes, as docker ps lists them."""
        every = [] if running else ["--all"]
        options = [f"--filter={each}" for each in filters]
        lines = self.docker("ps", *every, "--no-trunc", "--format={{json .}}", *options).splitlines()
        return [json.loads(line) for line in lines]

    def database_container(self) -> str | None:
        """The running server of a hub with PostgreSQL."""
        project = f"label=com.docker.compose.project={self.settings.name}"
        found = self.containers(project, "label=com.docker.compose.service=database")
        return found[0]["ID"] if found else None
