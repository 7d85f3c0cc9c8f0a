# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""People's files are copied for other owners, whatever they have put there, and a copy that was killed is completed."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.carrel.jupyter.plugins.module_utils._adopt import takeover_hub as decide
from ansible_collections.carrel.jupyter.plugins.module_utils._host import home_copy
from ansible_collections.carrel.jupyter.plugins.module_utils._host.takeover import TakeoverError

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files to others")
NEW = decide.Span(5000, 300000, 65536), decide.Span(5001, 400000, 65536)
ADA = (300999, 400099)  # 1000:100 in a container
DAY = 86400 * 10**9
PART = f"{home_copy.PART}0123456789abcdef"


def copied(source: Path, target: Path | None, check_mode: bool = False, back: bool = False) -> home_copy.Copied:
    owners = decide.owners(NEW, None) if back else decide.owners(None, NEW)
    with contextlib.ExitStack() as stack:
        opened = [os.open(path, os.O_RDONLY) if path else None for path in (source, target)]
        for descriptor in opened:
            if descriptor is not None:
                stack.callback(os.close, descriptor)
        assert opened[0] is not None
        return home_copy.copy(opened[0], opened[1], owners, check_mode)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """What 1000:100 has, and root in the container."""
    folder = tmp_path / "old"
    (folder / "deep/deeper").mkdir(parents=True)
    (folder / "deep/mine.txt").write_text("mine")
    (folder / "deep/mine.txt").chmod(0o4755)
    (folder / "deep/link").symlink_to("/etc/passwd")
    with (folder / "holes").open("wb") as stream:
        stream.write(b"begin")
        stream.truncate(1 << 24)
    for path in (folder, *folder.rglob("*")):
        os.chown(path, 1000, 100, follow_symlinks=False)
    (folder / "deep").chmod(0o2770)
    (folder / "roots").write_text("root's")
    for path in (folder / "deep", folder / "deep/mine.txt"):
        os.utime(path, ns=(DAY, DAY))
    return folder


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "new").mkdir()
    return tmp_path / "new"


def ids(path: Path) -> tuple[int, int]:
    status = path.lstat()
    return status.st_uid, status.st_gid


def test_files_get_their_new_owners_and_keep_the_rest(source: Path, target: Path) -> None:
    done = copied(source, target)
    assert (done.files, done.left_count) == (4, 0)
    assert ids(target / "deep/mine.txt") == ids(target / "deep") == ids(target / "deep/link") == ADA
    assert ids(target / "roots") == (5000, 5001)
    assert (target / "deep/mine.txt").read_text() == "mine" and (target / "deep/deeper").is_dir()
    assert (target / "deep").stat().st_mode & 0o7777 == 0o2770
    assert (target / "deep/mine.txt").stat().st_mode & 0o7777 == 0o755
    assert (target / "deep").stat().st_mtime_ns == (target / "deep/mine.txt").stat().st_mtime_ns == DAY
    assert os.readlink(target / "deep/link") == "/etc/passwd"
    holes = (target / "holes").stat()
    assert holes.st_size == 1 << 24 and holes.st_blocks * 512 < 1 << 20
    assert done.bytes < 1 << 20
    assert copied(source, target).files == 0


def test_check_mode_says_the_same_and_writes_nothing(source: Path, target: Path) -> None:
    said = copied(source, target, check_mode=True)
    assert not [*target.iterdir()] and said == copied(source, None, check_mode=True) == copied(source, target)
    assert copied(source, target, check_mode=True).files == 0


def test_what_is_newer_stays_and_goes_back(source: Path, target: Path) -> None:
    copied(source, target)
    later = target / "deep/mine.txt"
    later.write_text("later")
    (target / "since").write_text("new")
    for path in (later, target / "since"):
        os.chown(path, *ADA)
    assert copied(source, target).files == 0 and later.read_text() == "later"
    assert copied(target, source, check_mode=True, back=True).files == 2
    assert copied(target, source, back=True).files == 2
    assert (source / "deep/mine.txt").read_text() == "later" and ids(source / "deep/mine.txt") == (1000, 100)
    assert ids(source / "since") == (1000, 100) and ids(source / "deep") == (1000, 100)
    assert copied(target, source, back=True).files == 0


def test_what_cannot_be_copied_is_named(source: Path, target: Path) -> None:
    os.mkfifo(source / "pipe")
    with socket.socket(socket.AF_UNIX) as listener, contextlib.chdir(source):
        listener.bind("socket")
    (source / "foreign").write_text("")
    os.chown(source / "foreign", 70000, 0)
    deepest = source / "below"
    for _unused in range(home_copy.DEEPEST + 1):
        deepest.mkdir()
        deepest /= "d"
    (target / "deep").write_text("a file")
    (target / "holes").mkdir()
    done = copied(source, target)
    assert done.left_count == 6
    said = "\n".join(sorted(done.left))
    for words in (
        "pipe is no file, folder or link", "socket is no file, folder or link",
        "foreign belongs to 70000:0, which is nobody in the containers", f"/d is below {home_copy.DEEPEST} folders",
        "deep is no folder in the copy", "holes is a folder in the copy",
    ):  # fmt: skip
        assert words in said


def test_links_in_the_copy_are_not_followed(source: Path, target: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (target / "deep").symlink_to(outside)
    (target / "roots").symlink_to(outside / "file")
    os.utime(target / "roots", ns=(DAY, DAY), follow_symlinks=False)
    assert copied(source, target).left == ["deep is no folder in the copy"]
    assert not [*outside.iterdir()] and (target / "roots").read_text() == "root's"


@pytest.mark.parametrize(
    ("found", "later"),
    [(one, other) for one in ("file", "link", "folder") for other in ("file", "link", "folder", "pipe")
     if one != other or one == "file"],
)  # fmt: skip
def test_what_becomes_something_else_is_named(
    tmp_path: Path, target: Path, monkeypatch: pytest.MonkeyPatch, found: str, later: str
) -> None:
    """It is replaced once the copy has looked at it, a moment that no test could choose from outside."""
    place = tmp_path / "old/x"
    place.parent.mkdir()
    (tmp_path / "old/other").write_text("mine")
    put = {
        "folder": place.mkdir, "link": lambda: place.symlink_to("/etc/shadow"), "pipe": lambda: os.mkfifo(place),
        "file": lambda: place.write_text("x"),
    }  # fmt: skip
    put[found]()
    look = os.stat

    def replaced(path: Any, **options: Any) -> os.stat_result:
        status = look(path, **options)
        if path == "x" and not os.path.lexists(tmp_path / "before"):
            place.rename(tmp_path / "before")
            put[later]()
        return status

    monkeypatch.setattr(os, "stat", replaced)
    done = copied(tmp_path / "old", target)
    assert done.left == ["x became something else while it was copied: look what it is, and copy it yourself"]
    assert os.listdir(target) == ["other"] and (target / "other").read_text() == "mine"


def test_an_error_says_where_and_what_to_do(source: Path, target: Path) -> None:
    with (source / "deep/long").open("wb") as stream:
        stream.truncate(1 << 25)
    os.chown(source / "deep/long", 1000, 100)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 24, hard))
    try:
        with pytest.raises(TakeoverError, match=r"^deep/long: File too large: see to that, and run this again$"):
            copied(source, target)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not [path for path in target.rglob("*") if home_copy.OWN.fullmatch(path.name)]
    copied(source, target)
    assert (target / "deep/long").stat().st_size == 1 << 25
    assert home_copy.TODO[errno.ENOSPC] == "make room"


def test_names_of_parts_are_nobodys_but_the_copys(source: Path, target: Path) -> None:
    (source / home_copy.PART.rstrip(".")).write_text("ada's")
    (source / PART).mkdir()
    os.chown(target, *ADA)
    kept = target / f"{PART[:-1]}0"
    for path in (target / PART, target / f"{PART[:-1]}1", kept):
        path.write_text("part")
    (target / f"{PART[:-1]}2").mkdir()
    os.chown(kept, *ADA)
    done = copied(source, target)
    assert done.left == [f"{PART} has a name as a killed copy leaves it: remove it, or rename it"]
    assert (target / ".carrel-part").read_text() == "ada's"
    parts = sorted(path.name for path in target.iterdir() if home_copy.OWN.fullmatch(path.name))
    assert parts == [kept.name, f"{PART[:-1]}2"]


KILLED = """
import os, sys
from ansible_collections.carrel.jupyter.plugins.module_utils._host import home_copy
from tests.unit.test_home_copy import decide, NEW
print(flush=True)
home_copy.copy(*(os.open(path, os.O_RDONLY) for path in sys.argv[1:]), decide.owners(None, NEW))
"""


def test_a_copy_that_was_killed_is_completed(source: Path, target: Path) -> None:
    """Killed at some moment, while files of a folder are copied."""
    (source / "many").mkdir()
    for number in range(3000):
        (source / f"many/{number}").write_bytes(b"x" * 5000)
    for path in (source / "many", *(source / "many").iterdir()):
        os.chown(path, 1000, 100)
    with subprocess.Popen([sys.executable, "-c", KILLED, str(source), str(target)], stdout=subprocess.PIPE) as process:
        assert process.stdout and process.stdout.readline()
        while not (target / "many").exists() or len(os.listdir(target / "many")) < 50:
            assert process.poll() is None
        process.send_signal(signal.SIGKILL)
    assert ids(target / "many") == (0, 0) and len(os.listdir(target / "many")) < 3000
    (target / "many" / PART).touch()
    os.chown(target / "many" / PART, *ADA)
    copied(source, target)
    assert sorted(os.listdir(target / "many")) == sorted(os.listdir(source / "many"))
    assert {(path.stat().st_size, ids(path)) for path in (target / "many").iterdir()} == {(5000, ADA)}
    assert ids(target / "many") == ADA
