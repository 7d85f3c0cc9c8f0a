# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The administrator's own commands before and after a reset: real programs, and an instance that does nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from carrel_reset import run, settings
from carrel_reset.engine import EngineError
from test_reset_run import CONTENT, Bench, bench

__all__ = ["bench"]  # a fixture


def writes(path: Path, *names: str) -> list[str]:
    """A command that adds some of its variables to a file."""
    text = " ".join(f"{name}=${name}" for name in names)
    return ["sh", "-c", f'echo "{text}" >> {path}']


def test_both_run_around_the_reset_and_know_about_it(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "said"
    bench.kind.renewed = path
    names = ("CARREL_RESET", "CARREL_INSTANCE", "CARREL_KIND", "CARREL_CONTAINER", "CARREL_DIRECTORY", "DOCKER_HOST")
    bench.content.update(before=writes(path, *names), after=writes(path, "CARREL_RESET", "CARREL_URL"))
    code, state = bench.reset()
    assert (code, state["warnings"], state["commands"]) == (0, [], {"before": "done", "after": "done"})
    assert path.read_text().splitlines() == [
        "CARREL_RESET=before CARREL_INSTANCE=tao CARREL_KIND=lab CARREL_CONTAINER=c1 CARREL_DIRECTORY=/srv/tao"
        " DOCKER_HOST=unix:///run/user/1001/docker.sock",
        "renew",
        "CARREL_RESET=done CARREL_URL=https://example.org/tao/",
    ]


def test_they_get_nothing_of_the_resets_environment(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_SECRET", "x")
    bench.content["before"] = ["sh", "-c", f"env > {tmp_path}/env; pwd >> {tmp_path}/env"]
    assert bench.reset()[0] == 0
    text = (tmp_path / "env").read_text()
    assert "A_SECRET" not in text and text.endswith("\n/\n")


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (["sh", "-c", "echo exam today; exit 3"], "failed with exit code 3: exam today"),
        (["/no/such/program"], "failed with exit code 127"),
        (["sh", "-c", "printf 'a\\033[2Jb' >&2; exit 1"], "failed with exit code 1: ab"),
    ],
)
def test_a_command_before_that_fails_keeps_the_instance_as_it_is(bench: Bench, command: list[str], says: str) -> None:
    bench.content.update(before=command, after=["false"])
    code, state = bench.reset()
    assert (code, state["result"]) == (run.FAILED, "failed")
    assert state["message"].startswith("nothing was reset, because of the command before it: ")
    assert says in state["message"] and says in state["commands"]["before"]
    assert "renew" not in bench.kind.calls and bench.kind.calls[-1] == "untell"
    assert "after" not in state["commands"]


def test_a_command_that_does_not_end_is_killed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # the clock is the real one here
    bench.content.update(before=["sleep", "60"], command_seconds=1)
    _code, state = bench.reset()
    assert "sleep 60 did not end within 1 s" in state["message"]


def test_a_command_before_may_put_the_reset_off(bench: Bench) -> None:
    bench.content["before"] = ["sh", "-c", "echo exam until noon; exit 75"]
    code, state = bench.reset()
    assert (code, state["result"]) == (run.PUT_OFF, "put off") and state["message"].endswith("exam until noon")
    assert "renew" not in bench.kind.calls


def test_a_command_after_that_fails_is_a_warning(bench: Bench) -> None:
    bench.content["after"] = ["false"]
    code, state = bench.reset()
    assert (code, state["result"]) == (0, "done")
    assert state["warnings"] == ["the command after the reset: false failed with exit code 1"]
    assert state["commands"] == {"after": "false failed with exit code 1"}


def test_the_command_after_runs_however_the_reset_ended(bench: Bench, tmp_path: Path) -> None:
    bench.kind.failure = [EngineError("compose failed")]
    bench.content.update(before=["true"], after=writes(tmp_path / "said", "CARREL_RESET"))
    code, state = bench.reset()
    assert code == run.FAILED and state["message"].startswith("compose failed")
    assert (tmp_path / "said").read_text() == "CARREL_RESET=failed\n"


def test_the_commands_of_the_last_reset_are_forgotten(bench: Bench) -> None:
    bench.content["after"] = ["true"]
    assert bench.reset()[1]["commands"] == {"after": "done"}
    bench.content["after"] = None
    assert bench.reset()[1]["commands"] == {}


def test_a_playbook_changes_an_instance_without_them(bench: Bench) -> None:
    bench.content.update(before=["sh", "-c", "exit 75"], after=["false"])
    code, state = bench.reset(claimed=True)
    assert (code, state["warnings"], state["commands"]) == (run.DONE, [], {})


@pytest.mark.parametrize("wrong", ["true", ["true", 1]])
def test_what_is_no_command_is_refused(wrong: Any) -> None:
    assert len(settings.problems({**CONTENT, "before": wrong})) == 1
    assert settings.problems({**CONTENT, "before": ["true"], "after": []}) == []


def test_the_state_is_json(bench: Bench) -> None:
    bench.content["before"] = ["sh", "-c", "printf '\\377'; exit 1"]
    bench.reset()
    assert json.loads((bench.directory / "state.json").read_text())["result"] == "failed"
