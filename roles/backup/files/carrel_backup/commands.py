# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How programs are run for an instance: as its engine's account, and in the account's own map of ids.

In the map the account is uid 0, as in its containers. It has all rights on the files of its containers' ids, and no
other rights on the host.
"""

from __future__ import annotations

import dataclasses
import os
import pwd
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import IO

from . import programs
from .jobs import SettingsError
from .settings import Settings

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
LONGEST = 64 * 2**20  # bytes of output that are kept
LONGEST_LINE = 2**20
HERE = os.path.dirname(os.path.abspath(__file__))
ENTER = os.path.join(HERE, "enter.py")
INSIDE = os.path.join(HERE, "inside.py")
KINDLY = ("nice", "-n", "19", "ionice", "-c", "3")

Line = Callable[[str, bool], None]  # a line, and whether it came from standard error


class CommandError(Exception):
    """A program failed; the text names it and has its last output."""

    def __init__(self, text: str, code: int = 1) -> None:
        super().__init__(text)
        self.code = code


@dataclasses.dataclass(frozen=True)
class Account:
    """The engine's account and its range of subordinate ids."""

    name: str
    uid: int
    gid: int
    home: str
    groups: frozenset[int]
    maps: tuple[str, ...]
    kindly: bool = True  # whether everything else on the host has priority

    def itself(self) -> list[str]:
        """Become the account for good. If our process ends, also by kill -9, the program ends, too."""
        ids = [f"--reuid={self.uid}", f"--regid={self.gid}", "--init-groups"]
        return ["setpriv", *ids, "--pdeathsig=KILL", "--"]

    def mapped(self) -> list[str]:
        """Become uid 0 of the account's map. Entering a map clears the death signal, so it is set again afterwards."""
        ids = [f"--reuid={self.uid}", f"--regid={self.gid}", "--init-groups"]
        become = ["unshare", *self.maps, "--setuid=0", "--setgid=0", "--"]
        return ["setpriv", *ids, "--", *become, "setpriv", "--pdeathsig=KILL", "--", *(KINDLY if self.kindly else ())]


def account_of(settings: Settings) -> Account:
    try:
        entry = pwd.getpwnam(settings.account)
    except KeyError as error:
        raise SettingsError(f"there is no account {settings.account} on this host") from error
    maps = []
    for option, own, extra in (
        ("--map-users", entry.pw_uid, settings.subuid),
        ("--map-groups", entry.pw_gid, settings.subgid),
    ):
        maps += [f"{option}=0:{own}:1", f"{option}=1:{extra['start']}:{extra['count']}"]
    groups = frozenset(os.getgrouplist(settings.account, entry.pw_gid))
    return Account(settings.account, entry.pw_uid, entry.pw_gid, entry.pw_dir, groups, tuple(maps))


def seen(settings: Settings, command: Sequence[str]) -> list[str]:
    """Run a command that sees the instance and the stage read-only, and follows no link in them."""
    shown = [f"{settings.directory}=instance", f"{settings.state_directory}/stage=stage"]
    view = f"{settings.run_directory}/view"
    enter = [sys.executable, "-I", ENTER, view, *shown, "--"]
    return ["unshare", "--mount", "--propagation=private", "--", *enter, *command]


def run(
    command: Sequence[str],
    seconds: float,
    what: str,
    *,
    stdin: int = subprocess.DEVNULL,
    stdout: IO[bytes] | None = None,
    environment: Mapping[str, str] | None = None,
    line: Line | None = None,
    lock: int | None = None,
    longest: int = LONGEST,
) -> tuple[int, str, str]:
    """Return the exit code and the output; with LINE, each line goes there instead. Raises CommandError.

    LOCK stays open in the program, so that the lock is held until the last program has ended.
    """
    printed = {False: bytearray(), True: bytearray()}

    def take(stream: IO[bytes], part: bytes) -> None:
        error = stream is child.stderr
        text = printed[error]
        text += part
        if line is None:
            if len(text) > longest:
                raise programs.EndlessError(f"printed more than {longest} bytes")
            return
        *whole, rest = text.split(b"\n")
        if len(rest) > LONGEST_LINE:
            raise programs.EndlessError("printed a line without end")
        printed[error] = bytearray(rest)
        for each in whole:
            line(each.decode("utf-8", "replace"), error)

    try:
        child = subprocess.Popen(
            list(command), stdin=stdin, stdout=stdout or subprocess.PIPE, stderr=subprocess.PIPE, cwd="/",
            env={"PATH": PATH, "LANG": "C.UTF-8", **(environment or {})}, start_new_session=True,
            pass_fds=() if lock is None else (lock,), umask=0o077,
        )  # fmt: skip
        code = programs.follow(child, seconds, take)
    except OSError as error:
        raise CommandError(f"{what}: {error}") from error
    except programs.EndlessError as error:
        raise CommandError(f"{what} {error} and was killed") from error
    output, errors = (bytes(text).decode("utf-8", "replace") for text in printed.values())
    return code, output, errors
