# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a reset or a backup runs, by the kernel's list of locks, which other accounts fill, too."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest
from ansible_collections.carrel.jupyter.plugins.module_utils._host.locks import locked
from ansible_collections.carrel.jupyter.plugins.module_utils._report import locks

LISTED = """\
1: FLOCK  ADVISORY  WRITE 7 fe:00:2150 0 EOF
1: -> FLOCK  ADVISORY  WRITE 8 fe:01:5 0 EOF
2: POSIX  ADVISORY  READ 9 fe:00:77 0 EOF
3: FLOCK  ADVISORY  WRITE -1 00:10a:2151 0 EOF
"""
MOUNTS = """\
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
140 22 0:266 / /srv rw shared:1 - btrfs /dev/vdb rw
40 22 0:30 / /dev/shm rw - tmpfs tmpfs rw
"""


def test_the_kernel_s_list() -> None:
    assert locks.held(LISTED) == {((254, 0), 2150), ((0, 266), 2151)}
    assert locks.device("40", MOUNTS) == (0, 30)
    assert locks.device("140", MOUNTS) == (0, 266)
    assert locks.device("4", MOUNTS) is None and locks.device("", MOUNTS) is None


def test_a_lock_is_seen_as_long_as_somebody_holds_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert not locked(str(path))
    path.touch()
    assert not locked(str(path))
    with path.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert locked(str(path))
        (tmp_path / "link").symlink_to(path)
        assert not locked(str(tmp_path / "link"))
    assert not locked(str(path))


def test_a_lock_with_the_same_number_on_another_file_system_is_another_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has a file system of their own, such as /dev/shm of a container, gets any number there."""
    path = tmp_path / "lock"
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        inode = path.stat().st_ino
        monkeypatch.setattr(locks, "held", lambda _listed: {((0, 4095), inode)})
        assert not locked(str(path))
