# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""An engine of a stranger that says too much, nothing, or nonsense; tests/integration/test_adopt.py asks a real one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.carrel.jupyter.plugins.module_utils._host import survey
from ansible_collections.carrel.jupyter.plugins.module_utils._host.engine_api import EngineError

MOUNT = {"Type": "bind", "Destination": "/home/jovyan/work", "RW": True}


def asked(monkeypatch: pytest.MonkeyPatch, answer: Any) -> Any:
    def call(engine: survey.EngineAPI, method: str, path: str) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(survey.EngineAPI, "call", call)
    found = survey._containers("/run/user/999/docker.sock", "start it")
    assert found["containers"] == []
    return found["problem"]


def test_what_an_engine_cannot_say_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    assert asked(monkeypatch, []) is None
    assert asked(monkeypatch, EngineError(0, "it sleeps")) == "it sleeps; start it, and adopt again"
    assert "more than 200 containers: adopt is for a few" in asked(monkeypatch, [{"Id": "a"}] * 201)
    for nonsense in ([{}], [3], {"a": 1}, 5, None, [{"Id": None}]):
        assert asked(monkeypatch, nonsense) == "the engine at /run/user/999/docker.sock does not answer as Docker does"


def test_what_is_mounted_is_looked_at_without_following_links(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("/etc")
    kinds = {
        "folder": "folder",
        "file": "file",
        "link": "other",
        "link/ssl": "other",
        "gone": "other",
        "gone/x": "other",
    }
    for name, kind in kinds.items():
        assert survey._mount({**MOUNT, "Source": f"{tmp_path}/{name}"})["kind"] == kind, name
    assert survey._mount({**MOUNT, "Source": f"{tmp_path}/file"})["empty"]
    assert survey._mount(MOUNT)["kind"] == "other"
