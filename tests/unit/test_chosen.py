# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names that playbooks get on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.carrel.jupyter.plugins.module_utils._plan import chosen

PLAYBOOKS = sorted((Path(__file__).resolve().parents[2] / "playbooks").glob("*.yml"))


def test_names_have_commas_between_them() -> None:
    assert chosen.names(" tao, ,class101,") == ["tao", "class101"]
    assert chosen.names("") == chosen.names(None) == []


def test_unknown_names_come_with_the_nearest() -> None:
    assert chosen.unknown(["tao", "clas101", "zzz"], ["tao", "class101"]) == [
        "no instance is called 'clas101' (did you mean class101?)",
        "no instance is called 'zzz'",
    ]
    assert chosen.unknown(["tao"], ["class101"], "hub") == ["no hub is called 'tao'"]


@pytest.mark.parametrize("playbook", PLAYBOOKS, ids=lambda path: str(path.name))
def test_a_playbook_that_takes_names_refuses_unknown_ones(playbook: Path) -> None:
    """Otherwise a misspelt one looks like an instance with nothing to do."""
    text = playbook.read_text()
    assert ".split(" not in text
    if "jupyter_instances_only | default" in text:
        assert "| carrel.jupyter._names_unknown(" in text
