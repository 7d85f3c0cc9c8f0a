# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The output of a reset or a backup: a line of JSON for each step in the journal, plain text for people."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import syslog
from typing import TextIO

from . import printable

# A line of the syslog protocol has to fit in one datagram.
LONGEST = 4000
SHOWN = "CARREL_RESET_STEPS"  # set if the output reaches root's terminal through a pipe


class Journal:
    """Steps go to the journal and to a terminal; warnings and errors to standard error as well, which cron mails."""

    def __init__(self, name: str, what: str = "reset", program: str = "carrel-reset") -> None:
        self.name = name
        self.what = what
        syslog.openlog(program, syslog.LOG_PID, syslog.LOG_DAEMON)

    def info(self, step: str, message: str) -> None:
        self._write(syslog.LOG_INFO, step, message)
        if sys.stdout.isatty() or SHOWN in os.environ:
            self._print(f"{step:8}{message}", sys.stdout)

    def warning(self, step: str, message: str) -> None:
        self._write(syslog.LOG_WARNING, step, message, level="warning")
        self._print(f"{self.what} of {self.name}, {step}: warning: {message}", sys.stderr)

    def error(self, step: str, message: str) -> None:
        self._write(syslog.LOG_ERR, step, message, level="error")
        self._print(f"{self.what} of {self.name}, {step}: {message}", sys.stderr)

    def _print(self, text: str, stream: TextIO) -> None:
        with contextlib.suppress(OSError):  # go on if the terminal is gone
            print(printable.text(text), file=stream, flush=True)

    def _write(self, priority: int, step: str, message: str, **fields: str) -> None:
        entry = {"instance": self.name, "step": step, "message": printable.text(message[:LONGEST]), **fields}
        syslog.syslog(priority, json.dumps(entry, ensure_ascii=False))
