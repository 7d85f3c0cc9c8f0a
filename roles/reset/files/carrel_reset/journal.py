# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a reset says: a line of JSON for each step in the journal, plain text for people."""

from __future__ import annotations

import json
import sys
import syslog

# A line of the syslog protocol has to fit in one datagram.
LONGEST = 4000


class Journal:
    """Steps go to the journal and to a terminal; warnings and errors to standard error as well, which cron mails."""

    def __init__(self, name: str) -> None:
        self.name = name
        syslog.openlog("carrel-reset", syslog.LOG_PID, syslog.LOG_DAEMON)

    def info(self, step: str, message: str) -> None:
        self._write(syslog.LOG_INFO, step, message)
        if sys.stdout.isatty():
            print(f"{step:8}{message}", flush=True)

    def warning(self, step: str, message: str) -> None:
        self._write(syslog.LOG_WARNING, step, message, level="warning")
        print(f"reset of {self.name}, {step}: warning: {message}", file=sys.stderr, flush=True)

    def error(self, step: str, message: str) -> None:
        self._write(syslog.LOG_ERR, step, message, level="error")
        print(f"reset of {self.name}, {step}: {message}", file=sys.stderr, flush=True)

    def _write(self, priority: int, step: str, message: str, **fields: str) -> None:
        entry = {"instance": self.name, "step": step, "message": message[:LONGEST], **fields}
        syslog.syslog(priority, json.dumps(entry, ensure_ascii=False))
