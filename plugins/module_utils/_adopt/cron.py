# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of cron's files start a compose project again, and when."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from typing import Any

_COMPOSE = re.compile(r"\bdocker[ -]compose\b")
_AT = re.compile(r"\s*([0-9]{1,2})\s+([0-9]{1,2})\s+\*\s+\*\s+\*\s")


def job(path: str, text: str, projects: Iterable[str]) -> dict[str, Any] | None:
    """The job of a file that runs compose; its `projects` are those of PROJECTS (accounts, folders) that it names.

    Of /etc/cron.daily each file is a job, in /etc/cron.d a line is.
    """
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    daily = posixpath.dirname(path) == "/etc/cron.daily"
    if not daily:
        lines = [line for line in lines if _COMPOSE.search(line)]
    if not any(_COMPOSE.search(line) for line in lines):
        return None
    code = "\n".join(lines)
    times = [found for line in lines if (found := _AT.match(line))]
    at = "daily" if daily else next((f"{int(found[2]):02d}:{int(found[1]):02d}" for found in times), None)
    named = [name for name in projects if re.search(rf"(?<![\w./-]){re.escape(name)}(?![\w.-])", code)]
    return {"path": path, "at": at, "pull": bool(re.search(_COMPOSE.pattern + r".*\bpull\b", code)), "projects": named}
