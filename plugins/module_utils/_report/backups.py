# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Interpret the state file of backups for instance_status, and find problems."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._plan.facts import parse_instance
from ansible_collections.carrel.jupyter.plugins.module_utils._shared.times import parse_time

OVERDUE = timedelta(hours=49)
DRILL_OVERDUE = timedelta(days=15)
ERROR, WARNING = "error", "warning"
_RUN = ("what", "result", "step", "message", "started", "ended")


def read(settings: str, state: str | None, locked: bool, since: datetime) -> dict[str, Any]:
    """Read the files' texts SETTINGS and STATE. SINCE is when the settings were written. Raises ValueError."""
    content = parse_instance(state) if state else {}
    runs = {key: _run(content.get(key), locked) for key in ("backup", "drill")}
    good = _good(content.get("backup"))
    if runs["drill"] is not None:
        tried = _good(content.get("drill"))
        # the drill started a server from the snapshot's image on the restored files
        runs["drill"].update(good=_text(tried.get("ended")), server=isinstance(tried.get("server"), dict))
    wanted = parse_instance(settings)
    return {
        **(runs["backup"] or {**dict.fromkeys(_RUN), "warnings": []}),
        "good": _text(good.get("ended")),
        "drill": runs["drill"],
        "scheduled": wanted.get("at") is not None,
        "drilled": wanted.get("at") is not None and wanted.get("drill") is True,
        "since": since.isoformat(),
    }


def _good(run: Any) -> Mapping[str, Any]:
    """Return the facts of the last good run."""
    found = run.get("good") if isinstance(run, dict) else None
    return found if isinstance(found, dict) else {}


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _run(run: Any, locked: bool) -> dict[str, Any] | None:
    if not isinstance(run, dict):
        return None
    warnings = run.get("warnings")
    found: dict[str, Any] = {key: _text(run.get(key)) for key in _RUN}
    found["warnings"] = [str(warning) for warning in warnings] if isinstance(warnings, list) else []
    if found["result"] == "running" and not locked:
        found["result"] = "interrupted"
    return found


def problems(backup: Mapping[str, Any] | None, now: datetime) -> Iterator[tuple[str, str]]:
    if not backup:
        return
    if backup["result"] in ("failed", "interrupted"):
        yield ERROR, f"the last backup {_ended(backup)} at step {backup['step']}: {backup['message']}"
    elif backup["result"] == "incomplete":
        for warning in backup["warnings"]:
            yield WARNING, f"the last backup is not complete: {warning}"
    newest = _newest(now, backup["good"], backup["since"])
    if backup["scheduled"] and now - newest > OVERDUE:
        yield ERROR, f"there is no good backup since {newest:%Y-%m-%d %H:%M} UTC, though one is set for each day"
    drill = backup["drill"]
    if drill and drill["result"] in ("failed", "interrupted"):
        yield ERROR, f"the last drill of a restore {_ended(drill)}: {drill['message']}"
    begun = _newest(now, (drill or {}).get("started"), backup["since"])
    if backup["drilled"] and now - begun > DRILL_OVERDUE:
        yield WARNING, f"no restore was tried since {begun:%Y-%m-%d}, though one is set for each week"


def _newest(now: datetime, *times: str | None) -> datetime:
    """Return the latest of the TIMES that can be read."""
    return max(filter(None, map(parse_time, times)), default=now)


def _ended(run: Mapping[str, Any]) -> str:
    return "was interrupted" if run["result"] == "interrupted" else "failed"
