# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import random
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ansible_collections.carrel.jupyter.plugins.module_utils._changes.file import File
from ansible_collections.carrel.jupyter.plugins.module_utils._changes.tracker import Tracker
from ansible_collections.carrel.jupyter.plugins.module_utils._host import files
from ansible_collections.carrel.jupyter.plugins.module_utils._host.files import UnsafePathError


def mine(content: bytes, mode: int = 0o644) -> File:
    return File(content, mode, os.getuid(), os.getgid())


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = str(tmp_path / "a" / "b" / "file")
    assert files.read(path) is None
    old = os.umask(0o077)
    try:
        files.write(path, mine(b"one", 0o640))
    finally:
        os.umask(old)
    assert files.read(path) == mine(b"one", 0o640)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o755
    files.write(path, mine(b"", 0o600))
    assert files.read(path) == mine(b"", 0o600)
    assert os.listdir(tmp_path / "a" / "b") == ["file"]
    files.remove(path)
    files.remove(path)
    assert files.read(path) is None


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives files away")
def test_the_owner_is_set_and_compared(tmp_path: Path) -> None:
    path = str(tmp_path / "file")
    files.write(path, File(b"x", 0o400, 100999, 100099))
    assert files.read(path) == File(b"x", 0o400, 100999, 100099)
    assert files.read(path) != File(b"x", 0o400, 100999, 100100)


@pytest.mark.parametrize("path", ["link/file", "real/link/file", "real/leaf", "real/dangling"])
def test_links_are_refused_and_their_targets_untouched(tmp_path: Path, path: str) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "file").write_text("old")
    (tmp_path / "link").symlink_to("secret")
    (tmp_path / "real" / "link").symlink_to(tmp_path / "secret")
    (tmp_path / "real" / "leaf").symlink_to(tmp_path / "secret" / "file")
    (tmp_path / "real" / "dangling").symlink_to(tmp_path / "secret" / "new")
    for attempt in (
        lambda: files.read(str(tmp_path / path)),
        lambda: files.write(str(tmp_path / path), mine(b"new")),
    ):
        with pytest.raises(UnsafePathError, match="symbolic link"):
            attempt()
    assert (tmp_path / "secret" / "file").read_text() == "old"
    assert os.listdir(tmp_path / "secret") == ["file"]
    assert sorted(os.listdir(tmp_path / "real")) == ["dangling", "leaf", "link"]


@pytest.mark.parametrize("path", ["relative", "/tmp/../etc/x"])
def test_only_plain_absolute_paths(path: str) -> None:
    with pytest.raises(UnsafePathError, match="absolute"):
        files.open_directory(path)


def test_other_kinds_of_files_are_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UnsafePathError, match="regular"):
        files.read(str(tmp_path / "pipe"))
    with pytest.raises(UnsafePathError, match="regular"):
        files.write(str(tmp_path / "pipe"), mine(b"x"))


def test_a_link_takes_the_place_of_another_in_one_step(tmp_path: Path) -> None:
    path = tmp_path / "sites" / "one.conf"
    for target in ("../available/one.conf", "../available/two.conf"):
        files.link(str(path), target)
        assert os.readlink(path) == target and os.listdir(path.parent) == ["one.conf"]
    (path.parent / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        files.link(str(path.parent / "folder"), "x")
    assert sorted(os.listdir(path.parent)) == ["folder", "one.conf"]
    (tmp_path / "elsewhere").symlink_to(path.parent)
    with pytest.raises(files.UnsafePathError, match="symbolic link"):
        files.link(str(tmp_path / "elsewhere" / "two.conf"), "x")


def test_a_write_that_fails_leaves_the_old_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    limited = f"""
import resource, signal
from ansible_collections.carrel.jupyter.plugins.module_utils._host import files
from ansible_collections.carrel.jupyter.plugins.module_utils._changes.file import File
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
files.write({str(path)!r}, File(b"x" * 2000, uid={os.getuid()}, gid={os.getgid()}))
"""
    result = subprocess.run(
        [sys.executable, "-c", limited], capture_output=True, text=True, env=environment(), check=False
    )
    assert "File too large" in result.stderr
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["file"]


def test_what_a_killed_run_left_is_swept_later(tmp_path: Path) -> None:
    old, young, foreign = (tmp_path / name for name in (f".file.{'a' * 16}", f".file.{'b' * 16}", ".file.swp"))
    for leftover in (old, young, foreign):
        leftover.touch()
    for leftover in (old, foreign):
        os.utime(leftover, (0, 0))
    files.write(str(tmp_path / "file"), mine(b"x"))
    assert not old.exists() and young.exists() and foreign.exists()


def test_kill_leaves_the_old_or_the_new_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    contents = {b"a" * 300_000, b"b" * 200_000}
    writer = f"""
from ansible_collections.carrel.jupyter.plugins.module_utils._host import files
from ansible_collections.carrel.jupyter.plugins.module_utils._changes.file import File
while True:
    for content in (b"a" * 300_000, b"b" * 200_000):
        files.write({str(path)!r}, File(content, uid={os.getuid()}, gid={os.getgid()}))
        print(flush=True)
"""
    for _unused in range(10):
        with subprocess.Popen([sys.executable, "-c", writer], stdout=subprocess.PIPE, env=environment()) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(random.uniform(0, 0.02))
            process.send_signal(signal.SIGKILL)
        assert path.read_bytes() in contents


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


def test_the_tracker() -> None:
    tracker = Tracker()
    assert not tracker.note("a", "same", "same")
    assert tracker.result(x=1) == {"changed": False, "diff": [], "x": 1}
    assert tracker.note("b", None, "new")
    assert tracker.note("c", "secret", "other", show=("***", "***"))
    assert tracker.result() == {
        "changed": True,
        "diff": [{"before_header": "b", "after_header": "b", "before": "", "after": "new"}],
    }


def test_describe() -> None:
    assert File(b"text\n", 0o640, 1, 2).describe() == "# owner 1:2, mode 0640\ntext\n"
