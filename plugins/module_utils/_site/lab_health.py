# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decide from its container whether a lab's server is ready, not ready yet, or has failed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from ansible_collections.carrel.jupyter.plugins.module_utils._shared.times import parse_time

# The exit code of roles/lab/files/healthcheck.py if people get in without a log-in.
OPEN = 3


class Verdict(NamedTuple):
    ready: bool = False
    failed: bool = False
    open: bool = False
    seen: str = ""


def judge(container: Mapping[str, Any] | None, since: datetime | None) -> Verdict:
    """Judge the output of `docker inspect`. Checks from before SINCE or before the container's start do not count."""
    if container is None:
        return Verdict(failed=True, seen="there is no container")
    state = container["State"]
    if state["Restarting"]:
        return Verdict(seen=f"it exits with status {state['ExitCode']} and restarts")
    if not state["Running"]:
        return Verdict(failed=True, seen=f"it exited with status {state['ExitCode']}")
    started = parse_time(state["StartedAt"])
    if started is None:
        return Verdict(seen="the engine does not say since when it runs")
    since = max(started, since) if since else started
    health = state.get("Health") or {}
    checks = [check for check in health.get("Log") or [] if (begun := parse_time(check["Start"])) and begun >= since]
    if not checks:
        return Verdict(seen="it has not been checked yet")
    code, said = checks[-1]["ExitCode"], str(checks[-1]["Output"]).strip()
    if code == OPEN:
        return Verdict(failed=True, open=True, seen=said)
    return Verdict(ready=health["Status"] == "healthy" and code == 0, seen=said)
