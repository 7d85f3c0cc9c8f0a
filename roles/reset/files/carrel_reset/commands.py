# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The administrator's own commands before and after a reset: on the host, as the account of the instance's engine."""

from __future__ import annotations

import os
import pwd
import shlex
import subprocess
from collections.abc import Sequence

from . import printable, programs
from .account import PATH
from .engine import KILL_SECONDS, limited
from .settings import Settings

PUT_OFF = 75  # EX_TEMPFAIL of sysexits.h
LAST_LINES = 5
LONGEST = 1000


class CommandError(Exception):
    """A command failed; the text says how. PUT_OFF: it asked to put off the reset."""

    def __init__(self, text: str, put_off: bool = False) -> None:
        super().__init__(text)
        self.put_off = put_off


def shown(command: Sequence[str]) -> str:
    text = shlex.join(command)
    return text if len(text) <= 200 else text[:199] + "…"


def environment(settings: Settings, container: str | None, reset: str) -> dict[str, str]:
    """The environment of a command. RESET: before, done or failed."""
    account = pwd.getpwuid(os.geteuid())
    return {
        "PATH": PATH, "LANG": "C.UTF-8", "HOME": account.pw_dir, "USER": account.pw_name, "LOGNAME": account.pw_name,
        "DOCKER_HOST": f"unix://{settings.socket}",
        "CARREL_INSTANCE": settings.name, "CARREL_KIND": settings.kind, "CARREL_URL": settings.url,
        "CARREL_DIRECTORY": settings.directory, "CARREL_CONTAINER": container or "", "CARREL_RESET": reset,
    }  # fmt: skip


def execute(command: Sequence[str], settings: Settings, container: str | None, reset: str) -> None:
    """Run a command. It does not inherit the reset's lock: its leftover processes must not block the next reset."""
    seconds = settings.command_seconds
    try:
        process = subprocess.Popen(
            limited(command, seconds), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env=environment(settings, container, reset), cwd="/", start_new_session=True,
        )  # fmt: skip
        code, output, _unused = programs.collect(process, seconds + KILL_SECONDS)
    except (OSError, programs.EndlessError) as error:
        raise CommandError(f"{shown(command)}: {error}") from error
    if code == 0:
        return
    said = printable.text("\n".join(output.splitlines()[-LAST_LINES:])[-LONGEST:])
    how = {124: f"did not end within {seconds} s", 137: "was killed"}
    text = f"{shown(command)} {how.get(code, f'failed with exit code {code}')}"
    raise CommandError(f"{text}: {said}" if said else text, code == PUT_OFF)
