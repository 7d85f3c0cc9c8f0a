# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Project quotas on real ext4 and XFS. tests/integration/test_quotas.py runs this on a kernel that has them."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.carrel.jupyter.plugins.module_utils._changes.tracker import Tracker
from ansible_collections.carrel.jupyter.plugins.module_utils._host import files, projects, quotas
from ansible_collections.carrel.jupyter.plugins.module_utils._host.install import Installation
from ansible_collections.carrel.jupyter.plugins.module_utils._host.quotas import Quotas
from ansible_collections.carrel.jupyter.plugins.module_utils._host.user_directories import UserDirectories
from ansible_collections.carrel.jupyter.plugins.module_utils._shared import disk
from ansible_collections.carrel.jupyter.plugins.module_utils._site.quotas import ForeignProjectError

from testbed.quota_kernel import EXT4, PLAIN, XFS

MB = 1 << 20
ADA = 101000
FULL = (errno.EDQUOT, errno.ENOSPC)  # XFS has no errno of its own for projects


@pytest.fixture(params=[EXT4, XFS])
def folder(request: pytest.FixtureRequest) -> Iterator[Path]:
    path = Path(request.param) / request.node.name.partition("[")[0]
    (path / "ada" / "home").mkdir(parents=True)
    os.chown(path / "ada" / "home", ADA, ADA)
    yield path / "ada"


def ensure(path: Path, limit: int | None, check: bool = False) -> tuple[str, str, list[str]]:
    work = Quotas(check)
    directory = files.open_directory(str(path))
    try:
        return *work.ensure([(directory, str(path))], limit), work.warnings()
    finally:
        os.close(directory)


def found(path: Path) -> quotas.Found:
    directory = files.open_directory(str(path))
    try:
        return quotas.examine(directory)
    finally:
        os.close(directory)


WRITE = """
import os, sys
os.setgroups([]); os.setgid(int(sys.argv[3])); os.setuid(int(sys.argv[3]))
with open(sys.argv[1], "wb") as stream:
    for _unused in range(int(sys.argv[2]) >> 16):
        stream.write(bytes(65536))
    stream.flush()
    os.fsync(stream.fileno())
"""


def write(path: Path, size: int) -> bool:
    """Whether somebody without rights can write so much; root with all capabilities is not limited."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", WRITE, path, str(size), str(ADA)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.returncode or any(f"[Errno {number}]" in done.stderr for number in FULL), done.stderr
    return not done.returncode


def test_a_limit_holds_and_a_second_run_changes_nothing(folder: Path) -> None:
    assert ensure(folder, 4 * MB, check=True) == ("no limit", f"at most {4 * MB} bytes", [])
    assert found(folder).project == 0
    assert ensure(folder, 4 * MB) == ("no limit", f"at most {4 * MB} bytes", [])
    assert ensure(folder, 4 * MB) == ensure(folder, 4 * MB, check=True) == (f"at most {4 * MB} bytes",) * 2 + ([],)
    assert not write(folder / "home" / "large", 6 * MB)
    (folder / "home" / "large").unlink()
    assert write(folder / "home" / "small", MB) and MB <= found(folder).used < 2 * MB
    room = os.statvfs(folder / "home")
    assert room.f_blocks * room.f_frsize == 4 * MB


MAKE = """
import os, sys
os.setgroups([]); os.setgid(int(sys.argv[3])); os.setuid(int(sys.argv[3]))
for number in range(int(sys.argv[2])):
    open(os.path.join(sys.argv[1], f"{number}"), "x").close()
"""


def make(path: Path, count: int) -> bool:
    """Whether somebody without rights can make so many empty files."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", MAKE, path, str(count), str(ADA)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.returncode or any(f"[Errno {number}]" in done.stderr for number in FULL), done.stderr
    return not done.returncode


def test_empty_files_are_limited_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "FEWEST_FILES", 50)
    ensure(folder, MB)
    assert found(folder).most_files == 128 and found(folder).files == 2
    assert not make(folder / "home", 200)
    assert 120 <= found(folder).files <= 128 and found(folder).used < MB
    assert os.statvfs(folder / "home").f_favail == 0
    for file in (folder / "home").iterdir():
        file.unlink()
    assert make(folder / "home", 100)
    ensure(folder, None)
    for file in (folder / "home").iterdir():
        file.unlink()
    assert found(folder).most_files == 0 and make(folder / "home", 200)


def test_a_limit_of_an_older_version_gets_one_of_files(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(quotas, "most_files", lambda limit: 0)
        ensure(folder, MB)
    assert found(folder).most_files == 0
    old, new = f"at most {MB} bytes in any number of files", f"at most {MB} bytes"
    assert ensure(folder, MB, check=True)[:2] == ensure(folder, MB)[:2] == (old, new)
    assert ensure(folder, MB)[:2] == (new, new) and found(folder).most_files == disk.most_files(MB)


def test_another_limit_and_none(folder: Path) -> None:
    ensure(folder, 2 * MB)
    project = found(folder).project
    assert ensure(folder, 8 * MB)[:2] == (f"at most {2 * MB} bytes", f"at most {8 * MB} bytes")
    assert write(folder / "home" / "file", 6 * MB)
    assert ensure(folder, None, check=True)[:2] == ensure(folder, None)[:2] == (f"at most {8 * MB} bytes", "no limit")
    assert ensure(folder, None)[:2] == ("no limit", "no limit")
    assert write(folder / "home" / "more", 6 * MB)
    # What was written without a limit counts into the next one, which is less than that.
    assert ensure(folder, 3 * MB)[:2] == ("no limit", f"at most {3 * MB} bytes") and found(folder).project == project
    assert found(folder).used >= 12 * MB and not write(folder / "home" / "again", MB)


def test_what_is_there_counts_in_whatever_it_is(folder: Path) -> None:
    home, outside = folder / "home", folder.parent / "outside"
    deep = home
    for _unused in range(20):
        deep /= "d"
    deep.mkdir(parents=True)
    (deep / "file").write_bytes(bytes(2 * MB))
    (outside).mkdir()
    (outside / "secret").write_bytes(bytes(MB))
    (home / "link").symlink_to(outside / "secret")
    (home / "folder").symlink_to(outside)
    os.mkfifo(home / "pipe")
    os.mknod(home / "device", 0o600 | 0o020000, os.makedev(1, 7))
    Path(os.fsdecode(os.fsencode(home) + b"/\xff\n")).write_bytes(bytes(MB))
    before = {path: os.lstat(path) for path in home.rglob("*")}
    ensure(folder, 8 * MB)
    assert found(folder).used >= 3 * MB
    project = found(folder).project
    assert found(deep).project == project and found(outside).project == 0
    secret = os.open(outside / "secret", os.O_RDONLY)
    assert projects.of(secret)[0] == 0
    os.close(secret)
    for path, status in before.items():
        assert os.lstat(path)[:6] == status[:6], path  # mode, inode, owner


def test_a_killed_run_is_completed_by_the_next(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "home" / "one").write_bytes(bytes(MB))

    call = quotas._quotactl

    def killed(descriptor: int, command: int, identity: int, buffer: Any) -> None:
        if command == quotas._SET_QUOTA:
            raise KeyboardInterrupt
        call(descriptor, command, identity, buffer)

    with monkeypatch.context() as patched:
        patched.setattr(quotas, "_quotactl", killed)
        with pytest.raises(KeyboardInterrupt):
            ensure(folder, 4 * MB)
    assert found(folder).limit == 0
    project = found(folder).project
    assert ensure(folder, 4 * MB)[:2] == ("no limit", f"at most {4 * MB} bytes")
    assert found(folder).project == project and found(folder).used >= MB


def test_users_have_projects_of_their_own_and_an_archive_keeps_its(folder: Path) -> None:
    other = folder.parent / "bob"
    (other / "home").mkdir(parents=True)
    os.chown(other / "home", ADA, ADA)
    ensure(folder, 2 * MB)
    ensure(other, 4 * MB)
    assert found(folder).project != found(other).project
    archive = folder.parent / ".archive"
    archive.mkdir()
    folder.rename(archive / "ada")
    assert found(archive / "ada").limit == 2 * MB
    # Whoever has the name next starts with a project of their own.
    (folder / "home").mkdir(parents=True)
    ensure(folder, 2 * MB)
    assert found(folder).project != found(archive / "ada").project


def test_a_project_of_somebody_else_is_left_alone(folder: Path) -> None:
    directory = files.open_directory(str(folder.parent))
    projects.put(directory, 77)
    os.close(directory)
    (folder.parent / "eve").mkdir()
    with pytest.raises(ForeignProjectError, match="project 77 of another owner"):
        ensure(folder.parent / "eve", MB)
    assert found(folder.parent / "eve").project == 77


def test_folders_with_one_limit_are_in_one_project(folder: Path) -> None:
    home, settings = folder / "home", folder / "settings"
    settings.mkdir()
    os.chown(settings, ADA, ADA)
    wanted = [{"paths": [str(home), str(settings)], "bytes": 4 * MB}]

    def install(check: bool = False) -> Tracker:
        tracker = Tracker()
        Installation(tracker, check).run([], [], {}, [], wanted)
        return tracker

    assert install(check=True).diffs == install().diffs != []
    assert install().diffs == []
    assert found(home).project == found(settings).project != 0
    assert write(home / "file", 3 * MB) and not write(settings / "file", 2 * MB)
    # One that a restore or an administrator has put in place is outside until the next run.
    settings.rename(folder / "aside")
    settings.mkdir()
    assert install(check=True).changed and install().changed and not install().changed
    assert found(settings).project == found(home).project


def test_users_of_a_hub_and_its_groups(folder: Path) -> None:
    def users(check: bool, **limits: int | None) -> UserDirectories:
        parameters = {
            "path": str(folder.parent / "users"),
            "users": [{"name": name, "state": "present", "disk": limit} for name, limit in limits.items()],
            "directories": [{"name": "home", "mode": "0700"}], "prune": "archive", "purge": False,
        }  # fmt: skip
        work = UserDirectories(parameters, check, ADA, ADA)
        work.run()
        assert work.problems == work.warnings == []
        return work

    users(False, eve=None)
    assert "bob disk at most 2097152 bytes" in users(True, ada=MB, bob=2 * MB, eve=None).after
    users(False, ada=MB, bob=2 * MB, eve=None)
    again = users(False, ada=MB, bob=2 * MB, eve=None)
    assert again.before == again.after == []
    base = folder.parent / "users"
    assert not write(base / "ada/home/file", 2 * MB) and write(base / "bob/home/file", 1 * MB)
    assert write(base / "eve/home/file", 4 * MB)
    users(False, bob=None, eve=None)
    assert write(base / "bob/home/more", 3 * MB)
    (archived,) = (base / ".archive").iterdir()
    assert found(archived).limit == MB


def test_what_is_moved_into_a_limited_folder_comes_into_its_project(folder: Path) -> None:
    ensure(folder, 8 * MB)
    staged = folder.parent / "staged"
    (staged / "deep").mkdir(parents=True)
    (staged / "deep" / "file").write_bytes(bytes(MB))
    with pytest.raises(OSError, match="cross-device"):
        staged.rename(folder / "home" / "restored")
    descriptors = [os.open(path, os.O_RDONLY) for path in (staged, folder / "home", folder.parent)]
    projects.follow(*descriptors[:2])
    staged.rename(folder / "home" / "restored")
    assert found(folder).used >= MB
    (folder / "home" / "restored").rename(staged)
    projects.follow(descriptors[0], descriptors[2])
    assert found(staged / "deep").project == 0 and found(folder).used < MB
    for descriptor in descriptors:
        os.close(descriptor)


def test_deep_folders_end_the_walk_and_are_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projects, "DEEPEST", 3)
    (folder / "home" / "a" / "b" / "c").mkdir(parents=True)
    (warning,) = ensure(folder, MB)[2]
    assert str(folder) in warning and "more than 3 levels deep" in warning


def test_nobody_in_a_user_namespace_leaves_a_project(folder: Path) -> None:
    ensure(folder, 2 * MB)
    # The owner, who could on the host itself.
    leave = (
        "import ctypes, os, sys\n"
        "from ansible_collections.carrel.jupyter.plugins.module_utils._host import projects\n"
        f"os.setgid({ADA}); os.setuid({ADA})\n"
        "assert ctypes.CDLL(None).unshare(0x10000000) == 0\n"
        "projects.put(os.open(sys.argv[1], os.O_RDONLY), 0)"
    )
    done = subprocess.run([sys.executable, "-c", leave, folder / "home"], capture_output=True, text=True, check=False)
    assert "Invalid argument" in done.stderr and found(folder / "home").project == found(folder).project


def test_a_file_system_without_them_is_told() -> None:
    before, after, warnings = ensure(Path(PLAIN), MB)
    assert (before, after) == ("no limit", "no limit")
    (warning,) = warnings
    assert "WILL NOT HOLD" in warning and PLAIN in warning
    assert ensure(Path(PLAIN), None) == ("no limit", "no limit", [])
