# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run programs that may print without end, never end, or leave a child that keeps their output open.

The programs for resets and backups link to this file, so it uses only the standard library.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable
from typing import IO

LONGEST = 16 * 2**20  # bytes of output
PART = 2**16
# After a program has ended, the rest of its output is read, but nobody waits for children that keep it open.
LOOK_SECONDS = 0.2
REST_SECONDS = 5


class EndlessError(Exception):
    """The program was killed, because it did not end in time or printed too much. The text says which."""


def follow(process: subprocess.Popen[bytes], seconds: float, take: Callable[[IO[bytes], bytes], None]) -> int:
    """Pass the program's output to TAKE until it ends. Return its exit code.

    The program must lead its own session, which is killed if the program does not end in time or TAKE raises.
    """
    end = time.monotonic() + seconds
    ended: float | None = None
    try:
        with selectors.DefaultSelector() as waiting:
            for stream in (process.stdout, process.stderr):
                if stream:
                    waiting.register(stream, selectors.EVENT_READ)
            while waiting.get_map():
                if ended is None and process.poll() is not None:
                    ended = time.monotonic()
                ready = waiting.select(LOOK_SECONDS)
                if ended is not None and (not ready or time.monotonic() > ended + REST_SECONDS):
                    break
                if time.monotonic() > end:
                    raise EndlessError(f"did not end within {seconds:.0f} s")
                for key, _unused in ready:
                    if part := os.read(key.fd, PART):
                        take(key.fileobj, part)  # type: ignore[arg-type]
                    else:
                        waiting.unregister(key.fileobj)
        return process.wait(max(end - time.monotonic(), LOOK_SECONDS))
    except subprocess.TimeoutExpired:
        raise EndlessError(f"did not end within {seconds:.0f} s") from None
    finally:
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):  # it survives if a file system hangs
                process.wait(REST_SECONDS)
        for stream in (process.stdout, process.stderr):
            if stream:
                stream.close()


def collect(process: subprocess.Popen[bytes], seconds: float) -> tuple[int, str, str]:
    """Return the program's exit code, output and errors. It is killed if it prints more than LONGEST."""
    output, errors = bytearray(), bytearray()

    def take(stream: IO[bytes], part: bytes) -> None:
        (output if stream is process.stdout else errors).extend(part)
        if len(output) + len(errors) > LONGEST:
            raise EndlessError(f"printed more than {LONGEST} bytes")

    code = follow(process, seconds, take)
    return code, output.decode("utf-8", "replace"), errors.decode("utf-8", "replace")


def standard_input(text: str) -> IO[bytes]:
    """Return a file with the whole input, so that a program that does not read it blocks nobody."""
    stream = os.fdopen(os.memfd_create("input"), "w+b", buffering=0)
    stream.write(text.encode())
    stream.seek(0)
    return stream
