# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which directories are in a backup, and which of them a restore and a drill find."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from carrel_backup import manifest, targets

ACCOUNT = 12345


@pytest.mark.skipif(os.geteuid() != 0, reason="files of several owners need root")
def test_only_the_directories_that_are_made_for_it_are_left_out(tmp_path: Path) -> None:
    """People and administrators use the same names at other places."""
    data = tmp_path / "data"
    left_out = [tmp_path / "build/a1b2", *(data / name / "x" for name in (".kept", ".restoring", ".bringing"))]
    left_out += [data / "users/.archive/eve-20300101T000000Z"]
    kept = [data / "users" / name / "home" for name in ("ada", "build")]
    kept += [data / "build/tiles", data / "groups/.archive/old", tmp_path / "hub/.kept"]
    for path in (*left_out, *kept):
        path.mkdir(parents=True)
        os.chown(path, ACCOUNT, ACCOUNT)
    for path in (tmp_path, *tmp_path.rglob("*")):
        path.chmod(0o711)
    leaves = targets.leaves(str(tmp_path), ACCOUNT, frozenset())
    assert leaves == sorted(str(path.relative_to(tmp_path)) for path in kept)
    assert all(manifest.is_plain(leaf) for leaf in leaves), "a restore accepts them"
