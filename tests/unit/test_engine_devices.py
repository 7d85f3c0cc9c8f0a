# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which containers carrel_devices starts. That it does, tests/e2e/test_devices.py sees after the reboot of hosts."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import carrel_devices
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


def test_one_that_does_not_start_keeps_no_other_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    started = []

    def docker(*arguments: str) -> str:
        if arguments[0] == "start":
            started.append(arguments[1])
            if arguments[1] == "broken":
                raise subprocess.CalledProcessError(1, "docker", stderr="unresolvable CDI devices\n")
            if arguments[1] == "slow":
                raise subprocess.TimeoutExpired("docker", 60)
        found = [{**container(), "Id": name} for name in ("broken", "slow", "good")]
        return json.dumps(found) if arguments[0] == "inspect" else "broken slow good"

    (tmp_path / "daemon.json").write_text('{"features": {"cdi": true}}')
    monkeypatch.setattr(carrel_devices, "CONFIG", str(tmp_path / "daemon.json"))
    monkeypatch.setattr(carrel_devices, "docker", docker)
    assert carrel_devices.main() == 1 and started == ["broken", "slow", "good"]
    assert "broken: unresolvable CDI devices" in capsys.readouterr().err
