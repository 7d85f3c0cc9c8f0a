# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Cases of test_plan_problems.py about instances that moved."""

from __future__ import annotations

from typing import Any

from plan_helpers import TAO, here, host

RECORD = {"engine": "tao", "port": 8801, "state": "held", "directory": "/srv/tao"}

MOVE_CASES: list[tuple[str, str, str, dict[str, Any]]] = [
    (
        "moved_away",
        f"{TAO}.moved_to",
        "was moved to 192.0.2.7",
        {**here(), "current": host(instances={"tao": {**RECORD, "moved_to": "192.0.2.7"}})},
    ),
    (
        "moved_not",
        f"{TAO}.moved_to",
        "run the playbook move",
        {**here(moved_to="192.0.2.7"), "current": host(instances={"tao": RECORD})},
    ),
    (
        "moved_here",
        "jupyter_instances",
        "geo was moved here from lab1",
        {**here(), "current": host(instances={"geo": {**RECORD, "engine": "geo", "port": 8802, "moved_from": "lab1"}})},
    ),
    ("url_host", f"{TAO}.moved_to", "'lab example' is not a host name", here(moved_to="lab example")),
]
