# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of cron's files and systemd's services start a compose project again, and when."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from typing import Any

_COMPOSE = re.compile(r"\bdocker[ -]compose\b")
_DOCKER = re.compile(r"\bdocker(?:-compose)?\s")
_EXEC = re.compile(r"\s*Exec\w+\s*=")
_VARIABLE = re.compile(r"\s*\w+\s*=")
_AT = re.compile(r"\s*([0-9]{1,2})\s+([0-9]{1,2})\s+\*\s+\*\s+\*\s")


def jobs(path: str, text: str, projects: Iterable[str]) -> list[dict[str, Any]]:
    """The jobs of a file that run compose; their `projects` are those of PROJECTS (accounts, folders) that they name.

    Of /etc/cron.daily each file is a job, in /etc/cron.d a line is; `shared` says that the file has jobs of others.
    """
    lines = _lines(text)
    daily = posixpath.dirname(path) == "/etc/cron.daily"
    codes = ["\n".join(lines)] if daily else [line for line in lines if not _VARIABLE.match(line)]
    found = [{"path": path, **_job(code, daily, projects)} for code in codes if _COMPOSE.search(code)]
    named = [job["projects"] for job in found]
    shared = len(codes) > len(found)
    return [{**job, "shared": shared or any(others != job["projects"] for others in named)} for job in found]


def _job(code: str, daily: bool, projects: Iterable[str]) -> dict[str, Any]:
    time = _AT.match(code)
    at = "daily" if daily else f"{int(time[2]):02d}:{int(time[1]):02d}" if time else None
    pull = bool(re.search(_COMPOSE.pattern + r".*\bpull\b", code))
    return {"at": at, "pull": pull, "projects": _named(code, projects)}


def crontab(path: str, text: str, owner: str | None, projects: Iterable[str]) -> list[dict[str, Any]]:
    """Whether jobs of a crontab run docker, and for which projects. OWNER: the account whose it is; None for root."""
    code = "\n".join(line for line in _lines(text) if _DOCKER.search(line))
    return _starter(path, code, owner, projects) if code else []


def service(path: str, text: str, owner: str | None, projects: Iterable[str]) -> list[dict[str, Any]]:
    """The same of a service of systemd, which a timer or the start of the host may start."""
    lines = [line for line in _lines(text.replace("\\\n", " ")) if not line.startswith(";")]
    runs = any(_EXEC.match(line) and _DOCKER.search(line) for line in lines)
    return _starter(path, "\n".join(lines), owner, projects) if runs else []


def _starter(path: str, code: str, owner: str | None, projects: Iterable[str]) -> list[dict[str, Any]]:
    named = [*dict.fromkeys([*([owner] if owner else []), *_named(code, projects)])]
    return [{"path": path, "projects": named}] if named else []


def _lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def _named(code: str, projects: Iterable[str]) -> list[str]:
    return [name for name in projects if re.search(rf"(?<![\w./-]){re.escape(name)}(?![\w.-])", code)]
