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
    ("size", "free", "files", "free_files", "for_good"),
    [
        (10_000 * MB, 255 * MB, 10**6, 10**6, True),
        (10_000 * MB, 257 * MB, 10**6, 10**6, False),
        (100 * MB, 4 * MB, 10**6, 10**6, True),
        (100 * MB, 6 * MB, 10**6, 10**6, False),
        (10_000 * MB, 9_000 * MB, 10**6, 999, True),
        (10_000 * MB, 9_000 * MB, 10**6, 1000, False),
        (100 * MB, 90 * MB, 1000, 49, True),
        (100 * MB, 90 * MB, 1000, 50, False),
        (10_000 * MB, 9_000 * MB, 0, 0, False),  # btrfs has no such limit
        (0, 0, 0, 0, False),  # of file systems that do not tell
    ],
)
def test_only_where_there_is_no_room(
    file: str, size: int, free: int, files: int, free_files: int, for_good: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure = function(file, monkeypatch)
    found = SimpleNamespace(
        f_frsize=4096, f_bavail=free // 4096, f_blocks=size // 4096, f_files=files, f_favail=free_files
    )
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
