# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Subprocesses and progress lines."""

from __future__ import annotations

import contextlib
import fcntl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STATE = ROOT / ".testbed"


class Failure(Exception):
    """Something the caller must know: the text says what and what to do."""


def run(*command: str | Path, check: bool = True, input_text: str | None = None, folder: Path | None = None) -> str:
    """Run a command, in FOLDER if given, and return what it printed; on failure raise Failure with its last lines."""
    done = subprocess.run(
        [str(part) for part in command],
        input=input_text,
        cwd=folder,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    if check and done.returncode:
        tail = "\n".join(done.stdout.splitlines()[-25:])
        raise Failure(f"{' '.join(str(part) for part in command)}\nfailed with exit code {done.returncode}:\n{tail}")
    return done.stdout.strip()


def succeeds(*command: str | Path) -> bool:
    """Whether a command exits with 0; its output is dropped."""
    return (
        subprocess.run(
            [str(c) for c in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False
        ).returncode
        == 0
    )


@contextlib.contextmanager
def alone(what: str) -> Iterator[None]:
    """Let one process of this machine at a time do WHAT; the others wait."""
    with (Path(tempfile.gettempdir()) / f"carrel-testbed-{what}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def step(text: str) -> Iterator[None]:
    """Print a progress line when the block starts, and how long it took when it ends."""
    print(f"testbed: {text} ...", end="", flush=True)
    began = time.monotonic()
    try:
        yield
    except BaseException:
        print(" failed", flush=True)
        raise
    print(f" {time.monotonic() - began:.1f} s", flush=True)


def warn(text: str) -> None:
    """Print a warning."""
    print(f"testbed: {text}", file=sys.stderr, flush=True)
