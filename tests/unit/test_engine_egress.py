# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the runtime of labs with egress makes of Docker's call, and what it says when it must not start a container.

That real containers are limited, tests/e2e/test_egress.py sees.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import carrel_egress
import pytest
from ansible_collections.carrel.jupyter.plugins.module_utils._engine import egress

FAKE_RUNC = """#!/bin/sh
echo "$@" >> "$(dirname "$0")/calls"
case "$*" in *create*) echo $$ > "$(dirname "$0")/pid" ;; esac
exit "${RUNC_FAILS:-0}"
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """With a program in place of runc, which ends at once, so that there is no container to limit."""
    (tmp_path / "runc").write_text(FAKE_RUNC)
    (tmp_path / "runc").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return tmp_path


def arguments(folder: Path, annotations: dict[str, str] | None) -> list[str]:
    spec: dict[str, Any] = {} if annotations is None else {"annotations": annotations}
    (folder / "config.json").write_text(json.dumps(spec))
    log = ["--root", "/run/runc", "--log", f"{folder}/log.json", "--log-format", "json"]
    return [*log, "create", "--bundle", str(folder), f"--pid-file={folder}/pid", "65d221997abb"]


def said(folder: Path) -> str:
    (line,) = (folder / "log.json").read_text().splitlines()
    entry = json.loads(line)
    assert entry["level"] == "error"
    return str(entry["msg"])


def calls(folder: Path) -> list[str]:
    path = folder / "calls"
    return [line.split(" json ")[1].split()[0] for line in path.read_text().splitlines()] if path.exists() else []


def test_rules_end_with_the_refusal_of_all_else() -> None:
    lines = carrel_egress.rules(["192.0.2.0/24", "198.51.100.7/32"], ["10.0.2.3"]).splitlines()
    assert lines[4:] == [
        "-A OUTPUT -d 192.0.2.0/24 -j ACCEPT", "-A OUTPUT -d 198.51.100.7/32 -j ACCEPT",
        "-A OUTPUT -d 10.0.2.3 -p udp --dport 53 -j ACCEPT", "-A OUTPUT -d 10.0.2.3 -p tcp --dport 53 -j ACCEPT",
        "-A OUTPUT -j DROP", "COMMIT",
    ]  # fmt: skip
    assert carrel_egress.rules([], ["10.0.2.3"]).splitlines()[4:] == ["-A OUTPUT -j DROP", "COMMIT"], "and no names"


def test_name_servers_in_reach() -> None:
    text = "# a comment\nnameserver 10.0.2.3\nnameserver 127.0.0.53\nnameserver fd00::3\nnameserver\n"
    assert carrel_egress.resolvers(text) == ["10.0.2.3"]


@pytest.mark.parametrize(("allow", "networks"), [([], []), (["192.0.2.0/24", "198.51.100.7/32"],) * 2])
def test_the_runtime_reads_what_the_compose_file_says(tmp_path: Path, allow: list[str], networks: list[str]) -> None:
    service = egress.in_compose({"allow": allow})
    assert service["runtime"] in egress.RUNTIME_OPTIONS["runtimes"]
    (tmp_path / "config.json").write_text(json.dumps({"annotations": service["annotations"]}))
    assert carrel_egress.networks(tmp_path / "config.json") == networks
    assert egress.in_compose(None) == {}


def test_a_container_without_networks_to_read_is_not_made(folder: Path) -> None:
    assert carrel_egress.create(arguments(folder, None)) == 1
    assert "no annotation carrel.egress, which needs Docker 24" in said(folder)
    assert calls(folder) == []


def test_a_container_that_cannot_be_limited_does_not_stay(folder: Path) -> None:
    assert carrel_egress.create(arguments(folder, {"carrel.egress": "192.0.2.0/24"})) == 1
    assert "egress cannot be limited: iptables-restore" in said(folder)
    assert calls(folder) == ["create", "delete"]


def test_a_failure_of_runc_is_its_own(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNC_FAILS", "3")
    assert carrel_egress.create(arguments(folder, {"carrel.egress": ""})) == 3
    assert calls(folder) == ["create"] and not (folder / "log.json").exists()


def test_all_else_is_runc_s(folder: Path) -> None:
    program = Path(str(carrel_egress.__file__))
    log = ["--log", f"{folder}/log.json", "--log-format", "json"]
    done = subprocess.run(["python3", "-I", program, *log, "kill", "65d221997abb", "9"], check=False)
    assert done.returncode == 0 and calls(folder) == ["kill"]
