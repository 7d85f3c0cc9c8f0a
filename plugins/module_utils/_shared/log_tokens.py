# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs in a server's process: no line of its log shows the token of a URL.

jupyter_server and JupyterHub hide tokens in the lines that they write themselves; tornado's own lines about requests
that fail hold the whole URL (tornado.web, RequestHandler.log_exception).
"""

from __future__ import annotations

import logging
import re

# As `token=` of a query, as `token%3D` of a URL within one, and with letters written as %74.
_NAME = "".join(f"(?:{letter}|%(?:25)*{ord(letter):02x})" for letter in "token")
_TOKEN = re.compile(rf"({_NAME}(?:=|%(?:25)*3d))(?!\.\.\.)[^&\s\"'<>]+", re.IGNORECASE)


def without_tokens(line: str) -> str:
    return _TOKEN.sub(r"\1[secret]", line)


def install() -> None:
    """For all loggers, those of extensions too."""
    make = logging.getLogRecordFactory()
    if getattr(make, "without_tokens", False):  # the configuration is read more than once
        return

    def record(*arguments: object, **more: object) -> logging.LogRecord:
        made = make(*arguments, **more)
        try:
            line = made.getMessage()
        except Exception:  # for logging to report, not for the program that logs
            return made
        if _TOKEN.search(line):
            made.msg, made.args = without_tokens(line), ()
        return made

    record.without_tokens = True  # type: ignore[attr-defined]
    logging.setLogRecordFactory(record)
