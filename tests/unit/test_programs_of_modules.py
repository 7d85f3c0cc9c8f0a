# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules that run our programs on a host, with one that prints without end: an account may have written much."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.carrel.jupyter.plugins.module_utils._host import programs
from ansible_collections.carrel.jupyter.plugins.module_utils._site import backup, reset
from ansible_collections.carrel.jupyter.plugins.modules import instance_backup, instance_move, instance_reset

NAME = "tao-with-much-to-say"


@pytest.mark.parametrize(
    ("module", "decide", "options"),
    [
        (instance_backup, backup, {"name": NAME}),
        (instance_move, backup, {"step": "receive"}),
        (instance_reset, reset, {"name": NAME}),
    ],
)
@pytest.mark.parametrize("stream", [1, 2])
def test_a_program_that_prints_without_end_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    module: ModuleType, decide: Any, options: dict[str, str], stream: int,
) -> None:  # fmt: skip
    program, settings = tmp_path / "program", tmp_path / "settings.json"
    program.write_text(f"#!/bin/sh\nexec yes >&{stream}\n")
    program.chmod(0o755)
    settings.write_text("{}")
    monkeypatch.setattr(decide, "PROGRAM", str(program))
    monkeypatch.setattr(decide, "SETTINGS", str(settings))
    with patch_module_args(options), pytest.raises(SystemExit):
        module.main()
    said = json.loads(capsys.readouterr().out)
    assert said["failed"] and f"{program} printed more than {programs.LONGEST} bytes and was killed" in said["msg"]
