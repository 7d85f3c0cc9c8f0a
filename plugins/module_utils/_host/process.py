# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs that root runs as an account, or about one: with a deadline, a limit to their output, and no terminal."""

from __future__ import annotations

import contextlib
import os
import pwd
import selectors
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO, Any

from ansible_collections.carrel.jupyter.plugins.module_utils._report import printable

LONGEST = 16 * 2**20  # bytes of output
PART = 2**16
# Once a program has ended, what it wrote is read, but nobody who still holds its output is waited for.
LOOK_SECONDS = 0.2
REST_SECONDS = 5
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class EndlessError(Exception):
    """The program was killed, because it did not end in time or printed too much; the text says which."""


@dataclass(frozen=True)
class Done:
    code: int
    output: str
    errors: str  # cleaned


def run(
    command: Sequence[str],
    seconds: float,
    account: pwd.struct_passwd | None = None,
    environment: dict[str, str] | None = None,
    data: str = "",
) -> Done:
    """Run a program in a session of its own; DATA is its standard input.

    With an account, its environment is ENVIRONMENT and little else, and it could type into a terminal that it shared
    with root, so there is none. Raises EndlessError, and OSError where there is no such program.
    """
    with _input(data) as standard_input:
        program = subprocess.Popen(
            list(command), stdin=standard_input, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd="/",
            start_new_session=True, **_identity(account, environment or {}),
        )  # fmt: skip
    try:
        output, errors = _read(program, command[0], seconds)
        return Done(program.wait(REST_SECONDS), output, printable.text(errors))
    except subprocess.TimeoutExpired as error:
        raise EndlessError(f"{command[0]} did not end within {seconds:.0f} s and was killed") from error
    finally:
        if program.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(program.pid, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):  # a file system that hangs lets it live on
                program.wait(REST_SECONDS)
        for stream in (program.stdout, program.stderr):
            if stream:
                stream.close()


def _identity(account: pwd.struct_passwd | None, environment: dict[str, str]) -> dict[str, Any]:
    if account is None:
        return {"env": {**os.environ, **environment}}
    own = {"PATH": PATH, "LANG": "C.UTF-8", "HOME": account.pw_dir, "USER": account.pw_name, "LOGNAME": account.pw_name}
    groups = os.getgrouplist(account.pw_name, account.pw_gid)
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": groups, "env": {**own, **environment}}


def _input(data: str) -> IO[bytes]:
    """Whole from the beginning, so that a program that does not read it keeps nobody waiting."""
    stream = os.fdopen(os.memfd_create("input"), "w+b", buffering=0)
    stream.write(data.encode())
    stream.seek(0)
    return stream


def _read(program: subprocess.Popen[bytes], name: str, seconds: float) -> tuple[str, str]:
    end = time.monotonic() + seconds
    ended: float | None = None
    printed = {program.stdout: bytearray(), program.stderr: bytearray()}
    with selectors.DefaultSelector() as waiting:
        for stream in printed:
            waiting.register(stream, selectors.EVENT_READ)  # type: ignore[arg-type]
        while waiting.get_map():
            if ended is None and program.poll() is not None:
                ended = time.monotonic()
            ready = waiting.select(LOOK_SECONDS)
            if ended is not None and (not ready or time.monotonic() > ended + REST_SECONDS):
                break
            if time.monotonic() > end:
                raise EndlessError(f"{name} did not end within {seconds:.0f} s and was killed")
            for key, _unused in ready:
                part = os.read(key.fd, PART)
                printed[key.fileobj].extend(part)  # type: ignore[index]
                if not part:
                    waiting.unregister(key.fileobj)
            if sum(map(len, printed.values())) > LONGEST:
                raise EndlessError(f"{name} printed more than {LONGEST} bytes and was killed")
    output, errors = (bytes(part).decode("utf-8", "replace") for part in printed.values())
    return output, errors
