# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What module instance_reset says of a run; tests/integration runs the module."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.carrel.jupyter.plugins.module_utils._site import reset
from carrel_reset import run as program

DONE = {"result": "done", "exit_code": 0, "message": "reset", "seconds": 21.4}


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({"people": None, "pull": True, "notice": True, "claimed": False}, []),
        ({"people": "skip", "pull": True, "notice": True, "claimed": True}, ["--people", "skip", "--claimed"]),
        ({"people": None, "pull": False, "notice": False, "claimed": False}, ["--no-pull", "--no-notice"]),
    ],
)
def test_options_become_flags(options: dict[str, Any], wanted: list[str]) -> None:
    assert reset.flags(options) == wanted


def test_the_exit_codes_are_the_programs() -> None:
    assert (reset.USAGE, reset.LOCKED, reset.PUT_OFF) == (program.USAGE, program.LOCKED, program.PUT_OFF)
    assert set(reset.ADVICE) == set(reset.SHORT) == {program.FAILED, program.USAGE, program.LOCKED, program.DOWN}


def test_done() -> None:
    assert reset.outcome("tao", 0, "a warning", DONE) == reset.Outcome("tao was reset in 21.4 s", changed=True)


def test_held_is_skipped_before_and_after() -> None:
    assert reset.outcome("tao", 0, "", {"result": "held"}) == reset.held("tao")
    assert reset.held("tao").skipped and not reset.held("tao").changed


def test_check_mode_reports_that_it_would_be_reset() -> None:
    assert reset.foreseen("tao") == reset.Outcome("tao would be reset", changed=True)


def test_a_postponed_reset_is_not_a_failure() -> None:
    state = {"result": "put off", "exit_code": 4, "message": "people are at work: a kernel is busy"}
    assert reset.outcome("tao", 4, "", state) == reset.Outcome(
        "tao was put off: people are at work: a kernel is busy", put_off=True
    )


@pytest.mark.parametrize("code", [1, 5])
def test_a_failure_has_reason_and_advice(code: int) -> None:
    state = {"result": "failed", "exit_code": code, "message": "no room\nThe instance runs as before."}
    outcome = reset.outcome("tao", code, "reset of tao, end: failed: …", state)
    assert outcome.failed and not outcome.changed
    assert outcome.message.startswith("no room\nThe instance runs as before.\nRemove the cause")
    assert ("carrel.jupyter.site" in outcome.message) is (code == 5)


@pytest.mark.parametrize("state", [{}, {"result": "running", "exit_code": None, "message": "pull"}, DONE])
def test_a_crash_is_not_confused_with_an_old_state(state: dict[str, Any]) -> None:
    outcome = reset.outcome("tao", 1, "Traceback", state)
    assert outcome.failed
    assert outcome.message.startswith("Traceback\nIt is not known how far the reset got.")


def test_wrong_settings_and_a_reset_that_runs_have_words_of_their_own() -> None:
    assert "carrel.jupyter.site" in reset.outcome("tao", 2, "wrong", DONE).message
    locked = reset.outcome("tao", 3, "another reset is running", {"result": "running"}).message
    assert locked.startswith("another reset is running\n")
    assert "/var/lib/carrel/tao/reset/state.json" in locked


def test_an_unknown_exit_code_is_a_failure() -> None:
    outcome = reset.outcome("tao", 137, "", {})
    assert outcome.failed and outcome.message.startswith("carrel-reset ended with exit code 137\n")
