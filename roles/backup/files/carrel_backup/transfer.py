# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the steps of a move have in common."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from typing import IO, Any

from . import commands, containers, restore
from .commands import CommandError
from .run import Run
from .state import State

TREE = f"{restore.BESIDE}/{restore.MOVING}"
PACK_BYTES = 256 * 2**20  # of one part; restic's files have 16 MiB
# An account can make endless sparse files. A part also has tar's headers.
TAR = ("prlimit", f"--fsize={2 * PACK_BYTES}", "tar")
DATABASE = "com.docker.compose.service=database"

Given = Mapping[str, Any]


@dataclasses.dataclass
class Move:
    """One step on one host."""

    run: Run
    given: Given

    @property
    def directory(self) -> str:
        return self.run.settings.directory

    @property
    def tree(self) -> str:
        return f"{self.directory}/{TREE}/tree"

    @property
    def folder(self) -> str:
        """The gate's folder, in which only root writes; Apache may pass it."""
        return self.run.settings.run_directory

    @property
    def pack(self) -> str:
        return f"{self.run.settings.state_directory}/pack.tar"

    @property
    def record(self) -> str:
        return f"{os.path.dirname(self.run.settings.state_directory)}/instance.json"


def as_account(
    run: Run, *command: str, given: Sequence[str] = (), stdin: int | None = None, stdout: IO[bytes] | None = None
) -> str:
    """Run a program in the repository as the account, which may have put anything there."""
    with os.fdopen(os.memfd_create("given"), "w+b", buffering=0) as names:
        names.write(b"".join(os.fsencode(name) + b"\0" for name in given))
        names.seek(0)
        code, output, errors = commands.run(
            [*run.account.itself(), "env", f"--chdir={run.settings.repository}", *command],
            run.settings.deadline_seconds, command[0], stdin=names.fileno() if stdin is None else stdin, stdout=stdout,
        )  # fmt: skip
    if code:
        raise CommandError(f"{command[0]}: {errors.strip()[-2000:]}", code)
    return output


def write(path: str, text: str, mode: int = 0o644) -> None:
    """Replace a file of root's in a directory of root's, in one step."""
    with open(f"{path}.new", "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), mode)
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.rename(f"{path}.new", path)


def backups_of(run: Run) -> State:
    """The state of the instance's own backups, beside that of the move."""
    return State(f"{os.path.dirname(run.settings.state_directory)}/backup/state.json", run.settings.name)


def write_record(move: Move, content: Mapping[str, Any]) -> None:
    """Write the record of the deployed instance, as the site playbook does."""
    write(move.record, json.dumps(content, indent=2, sort_keys=True) + "\n")


def stop(move: Move, spared: str = "") -> None:
    """Stop all containers of the instance, except those with a label; all at once, since requests may wait."""

    def found() -> list[dict[str, str]]:
        users = containers.using(move.run, [], whole=True)
        return [each for each in users if not spared or spared not in each["Labels"].split(",")]

    containers.stop_all(move.run, found, "try again", at_once=True)


def let_go(move: Move) -> dict[str, Any]:
    """Let Apache send new requests directly again, here or to the new host; waiting ones still go to their target."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(f"{move.folder}/hold")
    return {}
