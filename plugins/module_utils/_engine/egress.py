# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Labs' limits on where they connect to: the runtime that sets them (carrel_egress.py of the role rootless_docker)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

RUNTIME = "carrel-egress"
ANNOTATION = "carrel.egress"
RUNTIME_OPTIONS: dict[str, Any] = {"runtimes": {RUNTIME: {"path": "/usr/local/lib/carrel/egress.py"}}}


def in_compose(egress: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return a service's keys."""
    return {"runtime": RUNTIME, "annotations": {ANNOTATION: ",".join(egress["allow"])}} if egress else {}
