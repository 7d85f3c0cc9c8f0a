# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How tests wait: one function polls, it ends with what it waits for, and a busy machine fails nothing."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from testbed.patience import PATIENCE, until

ROOT = Path(__file__).resolve().parents[2]
FILES = [path for folder in ("tests", "testbed", "bench") for path in sorted((ROOT / folder).rglob("*.py"))]


def test_it_returns_what_it_waited_for_as_soon_as_it_is_there() -> None:
    answers = iter([0, "", None, "here"])
    began = time.monotonic()
    assert until(lambda: next(answers), "it comes", pause=0.01) == "here"
    assert time.monotonic() - began < PATIENCE / 10


def test_a_timeout_names_what_did_not_happen() -> None:
    seen: list[int] = []
    with pytest.raises(LookupError, match=r"^it comes \(\d+ tries\): not within 0 s$"):
        until(lambda: seen.append(0), lambda: f"it comes ({len(seen)} tries)", 0.05, LookupError, pause=0.01)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nobody_polls_or_waits_in_a_way_of_their_own(path: Path) -> None:
    text = path.read_text()
    if path.name != "patience.py":
        assert not re.search(r"monotonic\(\) [<>] (deadline|end)\b.*\n(.*\n){0,2} +time\.sleep\(\d", text), (
            "see patience.until"
        )
    if "e2e" in path.parts:
        short = [int(seconds) for seconds in re.findall(r"\btimeout=(\d+)\b", text) if int(seconds) < PATIENCE]
        assert short == [], "a request that takes long on a busy machine is no failure"
