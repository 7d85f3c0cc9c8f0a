# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of cron's files start a compose project again, and when."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from typing import Any

_COMPOSE = re.compile(r"\bdocker[ -]compose\b")
_VARIABLE = re.compile(r"\s*\w+\s*=")
_AT = re.compile(r"\s*([0-9]{1,2})\s+([0-9]{1,2})\s+\*\s+\*\s+\*\s")


def jobs(path: str, text: str, projects: Iterable[str]) -> list[dict[str, Any]]:
    """The jobs of a file that run compose; their `projects` are those of PROJECTS (accounts, folders) that they name.

    Of /etc/cron.daily each file is a job, in /etc/cron.d a line is; `shared` says that the file has jobs of others.
    """
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    daily = posixpath.dirname(path) == "/etc/cron.daily"
    codes = ["\n".join(lines)] if daily else [line for line in lines if not _VARIABLE.match(line)]
    found = [{"path": path, **_job(code, daily, projects)} for code in codes if _COMPOSE.search(code)]
    named = [job["projects"] for job in found]
    shared = len(codes) > len(found)
    return [{**job, "shared": shared or any(others != job["projects"] for others in named)} for job in found]


def _job(code: str, daily: bool, projects: Iterable[str]) -> dict[str, Any]:
    time = _AT.match(code)
    at = "daily" if daily else f"{int(time[2]):02d}:{int(time[1]):02d}" if time else None
    named = [name for name in projects if re.search(rf"(?<![\w./-]){re.escape(name)}(?![\w.-])", code)]
    return {"at": at, "pull": bool(re.search(_COMPOSE.pattern + r".*\bpull\b", code)), "projects": named}
