# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What brings a unit up to date. tests/integration/test_module_systemd_units.py runs the module."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from ansible_collections.carrel.jupyter.plugins.module_utils._engine.units import Unit
from ansible_collections.carrel.jupyter.plugins.module_utils._host import file_times

SHOWN = "LoadState=loaded\nActiveState={}\nNeedDaemonReload=no\nExecMainStartTimestampMonotonic=50500000\n"


@pytest.mark.parametrize(
    ("active", "configured", "step"),
    [
        ("active", 50.4, None),
        ("active", 50.6, "restart"),
        ("activating", 50.4, None),
        ("activating", 50.6, "restart"),
        ("inactive", 50.4, "start"),
        ("failed", 50.6, "start"),
        ("deactivating", 50.4, "start"),
    ],
)
def test_what_brings_a_unit_up(active: str, configured: float, step: str | None) -> None:
    assert Unit.parse(SHOWN.format(active)).step(configured) == step


@pytest.mark.parametrize("main", ["", "ExecMainStartTimestampMonotonic=0\n"])
def test_a_unit_without_a_process_began_when_it_was_started(main: str) -> None:
    found = Unit.parse(f"ActiveState=active\n{main}InactiveExitTimestampMonotonic=50500000\n")
    assert (found.started, found.step(50.4), found.step(50.6)) == (50.5, None, "restart")


def test_a_manager_without_an_answer() -> None:
    assert Unit.parse("") == Unit()
    assert Unit.parse("").step(0) == "start"


def test_a_file_from_the_future_restarts_a_unit_once(tmp_path: Path) -> None:
    """The clock was set back."""
    future, past = tmp_path / "future", tmp_path / "past"
    paths = [str(future), str(past), str(tmp_path / "missing")]
    for path, seconds in ((future, 3600), (past, -3600)):
        path.touch()
        os.utime(path, (time.time() + seconds,) * 2)
    written = past.stat().st_mtime
    assert Unit(active="active", started=time.monotonic()).step(file_times.youngest(paths)) == "restart"
    file_times.end_future(paths)
    assert past.stat().st_mtime == written
    assert Unit(active="active", started=time.monotonic() - 1).step(file_times.youngest(paths)) == "restart"
    time.sleep(0.02)  # as precise as the times of files are
    assert Unit(active="active", started=time.monotonic()).step(file_times.youngest(paths)) is None
