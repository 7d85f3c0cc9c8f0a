# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which containers carrel_devices starts. That it does, tests/e2e/test_devices.py sees after the reboot of hosts."""

from __future__ import annotations

from typing import Any

import pytest
from carrel_devices import FAULT, failed


def container(
    error: str = f"{FAULT} with capabilities: [[gpu]]", running: bool = False, restart: str = "unless-stopped"
) -> dict[str, Any]:
    return {
        "Id": "65d221997abb",
        "State": {"Error": error, "Running": running},
        "HostConfig": {"RestartPolicy": {"Name": restart}},
    }


def test_what_docker_could_not_start_again_for_want_of_cdi_is_started() -> None:
    assert failed([container(), container(restart="always")]) == ["65d221997abb"] * 2


@pytest.mark.parametrize("other", [{"error": ""}, {"error": "no such file"}, {"running": True}, {"restart": "no"}])
def test_nothing_else_is_started(other: dict[str, Any]) -> None:
    assert failed([container(**other)]) == []
