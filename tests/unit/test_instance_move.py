# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module instance_move, with a stand-in for carrel-backup; tests/move has the real one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.carrel.jupyter.plugins.modules import instance_move


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run a step, with a program that does what a script says."""
    program = tmp_path / "carrel-backup"
    monkeypatch.setattr(instance_move.backup, "PROGRAM", str(program))

    def answer(script: str, step: str = "receive", check: bool = False) -> dict[str, Any]:
        program.write_text(f"#!/bin/sh\ncat > /dev/null\n{script}\n")
        program.chmod(0o755)
        with patch_module_args({"step": step, "_ansible_check_mode": check}), pytest.raises(SystemExit):
            instance_move.main()
        said: dict[str, Any] = json.loads(capsys.readouterr().out)
        return said

    return answer


def test_warnings_of_a_step_are_warnings_of_the_module(ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    warned: list[str] = []
    monkeypatch.setattr(instance_move.AnsibleModule, "warn", lambda self, text: warned.append(text))
    said = ask("""echo '{"warnings": ["data/users/ada is missing", "two"]}'""")
    assert warned == ["data/users/ada is missing", "two"]
    assert (said["answer"], said["changed"]) == ({}, True) and not {"warnings", "deprecations"} & said.keys()


def test_the_password_is_apart_from_the_answer(ask: Any) -> None:
    said = ask("""echo '{"have": [], "password": "one"}'""", "begin")
    assert (said["answer"], said["password"], said["changed"]) == ({"have": []}, "one", True)


@pytest.mark.parametrize(("step", "changes"), [("begin", True), ("probe", False), ("undo", True)])
@pytest.mark.parametrize("check", [False, True])
def test_check_mode_says_what_a_step_would_do(ask: Any, step: str, changes: bool, check: bool) -> None:
    said = ask("echo '{}'", step, check)
    assert (said["changed"], said.get("skipped", False)) == (changes, check)


@pytest.mark.parametrize("output", ["", "{", "7", "[1]"])
def test_an_answer_that_cannot_be_read_is_said(ask: Any, output: str) -> None:
    assert "carrel-backup gave an answer that is no JSON object; run the playbook" in ask(f"echo '{output}'")["msg"]


def test_why_a_step_failed_is_said(ask: Any) -> None:
    assert ask("echo 'no \033[2Jroom' >&2; exit 1")["msg"] == "receive: no room"
    assert ask("exit 3")["msg"] == "receive: exit code 3"
