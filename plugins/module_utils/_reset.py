# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of the role reset: the program, its settings for each instance, and cron's jobs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any


def files(jobs: Sequence[Mapping[str, Any]], mailto: str, program: str, source: str) -> list[dict[str, Any]]:
    """Return what install_files writes for the jobs of a host; those that are not present are left out."""
    present = [job for job in jobs if job["state"] == "present"]
    if not present:
        return []
    wanted: list[dict[str, Any]] = [{"path": program, "content": source, "mode": "0755"}]
    for job in present:
        settings = f"{job['directory']}/reset.json"
        wanted.append({"path": settings, "content": _settings(job)})
        wanted.append(
            {"path": f"/etc/cron.d/carrel-{job['name']}", "content": _cron(job, mailto, f"{program} {settings}")}
        )
    return wanted


def _settings(job: Mapping[str, Any]) -> str:
    kept = {key: job[key] for key in ("name", "account", "directory", "image", "pull")}
    return json.dumps({**kept, "files": ["compose.yaml", "login/compose.yaml"]}, indent=2, sort_keys=True) + "\n"


def _cron(job: Mapping[str, Any], mailto: str, command: str) -> str:
    return (
        "# Managed by carrel.jupyter\n"
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n"
        f'MAILTO="{mailto}"\n'
        f"{job['minute']} {job['hour']} * * * {job['account']} {command}\n"
    )
