# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Deleting is for good where there is no room for a trash, in labs and in the servers of hubs' users."""

from __future__ import annotations

import os
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from traitlets.config import Config

ROLES = Path(__file__).parents[2] / "roles"
PLACES = {"lab/files/full_home.py": "configure", "hub/files/server/jupyter_config.py": "delete_for_good_if_full"}
MB = 1 << 20


def function(file: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    # In a process with JupyterHub, its file changes that.
    monkeypatch.delitem(sys.modules, "jupyterhub.services.auth", raising=False)
    return runpy.run_path(str(ROLES / file))[PLACES[file]]


@pytest.mark.parametrize("file", PLACES)
@pytest.mark.parametrize(
    ("size", "free", "for_good"),
    [
        (10_000 * MB, 255 * MB, True),
        (10_000 * MB, 257 * MB, False),
        (100 * MB, 4 * MB, True),
        (100 * MB, 6 * MB, False),
        (0, 0, False),  # of file systems that do not tell
    ],
)
def test_only_where_there_is_no_room(
    file: str, size: int, free: int, for_good: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure = function(file, monkeypatch)
    found = SimpleNamespace(f_frsize=4096, f_bavail=free // 4096, f_blocks=size // 4096)
    monkeypatch.setattr(os, "statvfs", lambda folder: found)
    config = Config()
    configure(config, "/home/jovyan")
    wanted = {"FileContentsManager": {"delete_to_trash": False, "always_delete_dir": True}}
    assert config == (wanted if for_good else {})


@pytest.mark.parametrize("file", PLACES)
def test_a_folder_that_is_not_there_stops_no_server(file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configure = function(file, monkeypatch)
    config = Config()
    configure(config, str(tmp_path / "missing"))
    assert config == {}
