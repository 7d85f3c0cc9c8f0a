# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How root starts the program as the account of an engine, which root does not trust.

The docker command runs plugins that the account installed. So the program gets a session without root's terminal, into
which it could type, and none of root's open files. Its output comes through pipes and is cleaned.
"""

from __future__ import annotations

import codecs
import contextlib
import os
import pwd
import signal
import subprocess
import sys
from types import FrameType
from typing import IO

from . import printable, programs
from .jobs import SettingsError
from .journal import SHOWN

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
LONGEST = 2**20  # bytes of output that are passed on
SIGNAL = 128  # what a shell adds to the signal's number
# By then the reset of the next day is due.
SECONDS = 24 * 60 * 60


def is_another(name: str) -> bool:
    """Whether root has to start the program as this account."""
    try:
        entry = pwd.getpwnam(name)
    except KeyError as error:
        raise SettingsError(f"there is no account {name} on this host") from error
    if os.geteuid() not in (0, entry.pw_uid):
        raise SettingsError(f"run it as {name}, or as root")
    return os.geteuid() != entry.pw_uid


def run(name: str, argv: list[str]) -> int:
    """Run this program as the account, pass on what it prints, and return its exit code."""
    started: list[subprocess.Popen[bytes]] = []

    def pass_on(number: int, frame: FrameType | None) -> None:
        if not started:
            sys.exit(SIGNAL + number)
        started[0].send_signal(number)

    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup(1) sets it
            signal.signal(number, pass_on)
    child = subprocess.Popen(
        command(name, [sys.executable, "-I", os.path.abspath(sys.argv[0]), *argv]),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=environment(name), cwd="/", umask=0o022, start_new_session=True,
    )  # fmt: skip

    started.append(child)
    passed = 0
    decoders = {stream: codecs.getincrementaldecoder("utf-8")("replace") for stream in (child.stdout, child.stderr)}

    def show(stream: IO[bytes], part: bytes) -> None:
        nonlocal passed
        part = part[: LONGEST - passed]
        passed += len(part)
        ours = sys.stdout if stream is child.stdout else sys.stderr
        with contextlib.suppress(OSError):  # nobody reads the output any more
            print(printable.text(decoders[stream].decode(part)), end="", file=ours, flush=True)

    try:
        code = programs.follow(child, SECONDS, show)
    except programs.EndlessError as error:
        raise SettingsError(f"the reset {error} and was killed") from error
    return code if code >= 0 else SIGNAL - code


def command(name: str, arguments: list[str]) -> list[str]:
    """Become the account for good. If root's program ends, also by kill -9, this one ends, too."""
    entry = pwd.getpwnam(name)
    ids = [f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--init-groups"]
    return ["setpriv", *ids, "--pdeathsig=KILL", "--", *arguments]


def environment(name: str) -> dict[str, str]:
    """An environment with nothing from root's."""
    shown = {SHOWN: "1"} if sys.stdout.isatty() else {}
    home = pwd.getpwnam(name).pw_dir
    return {"PATH": PATH, "LANG": "C.UTF-8", "HOME": home, "USER": name, "LOGNAME": name, **shown}
