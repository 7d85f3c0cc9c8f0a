# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What people can make of their folders, and what backups and drills do with it."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from carrel_backup import inside

DEEP = 1100  # Python's limit on recursion is 1000, and most processes have 1024 descriptors


def deep(folder: Path, levels: int, name: str = "d") -> None:
    """The last one has a file."""
    folder.mkdir(parents=True, exist_ok=True)
    here = os.open(folder, os.O_RDONLY)
    for _unused in range(levels):
        os.mkdir(name, dir_fd=here)
        below = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(os.open("last", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)


@pytest.fixture
def homes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    for name in ("ada", "eve"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "notes.txt").write_text(name)
    yield tmp_path
    inside.empty(str(tmp_path))  # pytest could not


def few_descriptors(command: str, *arguments: str, given: Any = None) -> Any:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (20, 20))

    done = subprocess.run(
        [sys.executable, "-I", inside.__file__, command, *arguments], input=json.dumps(given), text=True,
        capture_output=True, check=True, preexec_fn=limit, timeout=60,
    )  # fmt: skip
    return json.loads(done.stdout)


@pytest.mark.parametrize(("levels", "name"), [(DEEP, "d"), (3 * DEEP, "d"), (100, 200 * "n"), (0, "d")])
def test_deep_folders_of_one_cost_nobody_a_sample(homes: Path, levels: int, name: str) -> None:
    deep(homes / "eve", levels, name)
    found = few_descriptors("samples", given=["eve", "nobody", "ada", "ada/notes.txt"])
    assert {"ada/notes.txt", "eve/notes.txt"} <= {sample["path"] for sample in found}


def test_a_drill_compares_deep_folders_to_the_last(homes: Path) -> None:
    deep(homes / "eve", DEEP)
    paths = ["/eve" + level * "/d" for level in range(DEEP + 1)]
    owner = {"uid": os.getuid(), "gid": os.getgid()}
    nodes = [{"path": path, "type": "dir", "mode": (homes / "eve").stat().st_mode, **owner} for path in paths]
    nodes.append({"path": f"{paths[-1]}/gone", "type": "file"})
    found = few_descriptors(
        "compare", str(homes), given={"nodes": nodes, "samples": [], "below": ["eve"], "number": len(nodes)}
    )
    assert found["files"] == DEEP + 3
    assert set(found["problems"]) == {
        "eve/notes.txt: it is not in the snapshot",
        f"{paths[-1][1:]}/gone: it was not restored",
        f"{paths[-1][1:]}/last: it is not in the snapshot",
    }


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_a_file_that_became_something_else_fails_no_drill(homes: Path, kind: str) -> None:
    samples = inside.samples(["eve", "ada"])
    (homes / "eve/notes.txt").unlink()
    if kind == "link":
        (homes / "eve/notes.txt").symlink_to("/etc/passwd")
    elif kind == "pipe":
        os.mkfifo(homes / "eve/notes.txt")
    else:
        (homes / "eve/notes.txt").mkdir()
    expected = {"nodes": [], "samples": samples, "below": ["eve", "ada"], "number": 0}
    assert inside.compare(str(homes), expected)["compared"] == 1


def test_a_damaged_file_is_left_out_with_its_hard_links(homes: Path) -> None:
    for name in ("damaged", "b\udcff", "good", "c\udcff", "b\udcff\udcfe", "\ufffd"):
        (homes / "eve" / name).write_text(name, errors="surrogateescape")
    (homes / "eve/folder").mkdir()
    os.link(homes / "eve/damaged", homes / "eve/folder/link")
    os.link(homes / "eve/good", homes / "eve/folder/other")
    (homes / "eve/symlink").symlink_to("damaged")
    paths = ["eve/damaged", "eve/b\ufffd", "eve/gone", "eve/folder", "eve/symlink/x"]
    assert few_descriptors("leave_out", str(homes), given=paths) == ["eve/folder/link"]
    left = {"folder", "good", "notes.txt", "symlink", "c\udcff", "b\udcff\udcfe", "\ufffd"}
    assert set(os.listdir(homes / "eve")) == left, "only the one whose name looks alike"
    assert os.listdir(homes / "eve/folder") == ["other"]


@pytest.mark.parametrize("kind", ["link", "file", "deep"])
def test_nothing_is_put_through_a_link(homes: Path, kind: str) -> None:
    (homes / "staged").write_text("restored")
    (homes / "ada/folder").mkdir()
    path = "folder/x"
    if kind == "link":
        (homes / "eve/folder").symlink_to(homes / "ada/folder")
    elif kind == "file":
        (homes / "eve/folder").touch()
    else:
        (homes / "eve/other").mkdir()
        (homes / "eve/other/folder").symlink_to(homes / "ada/folder")
        path = "other/folder/x"
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(NotADirectoryError, match="a link or a file is in the way; nothing was restored: 'folder'"):
        inside.put(str(homes / "staged"), str(homes / "eve"), path, True)
    assert len(os.listdir("/proc/self/fd")) == before
    assert (homes / "staged").exists() and not os.listdir(homes / "ada/folder")


@pytest.mark.parametrize("levels", [DEEP, 3 * DEEP])
def test_whatever_is_in_a_folder_is_removed(homes: Path, levels: int) -> None:
    outside = homes / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    deep(homes / "copy/eve", levels)
    (homes / "copy/link").symlink_to(outside)
    (homes / "copy/eve/link").symlink_to(outside)
    (homes / "copy/eve/wide/a").mkdir(parents=True)
    os.mkfifo(homes / "copy/eve/wide/pipe")
    (homes / "copy/eve/wide").chmod(0o500)
    few_descriptors("empty", str(homes / "copy"))
    assert os.listdir(homes / "copy") == [] and os.listdir(outside) == ["kept"]


def test_what_disappears_or_moves_meanwhile_costs_only_its_own(homes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    status = os.stat

    def gone(path: Any, **more: Any) -> os.stat_result:
        if path == "gone.txt":
            raise FileNotFoundError(path)
        return status(path, **more)

    for name in ("gone.txt", "a.txt"):
        (homes / "eve" / name).touch()
    (homes / "eve/folder/below").mkdir(parents=True)
    monkeypatch.setattr(inside.os, "stat", gone)
    assert [sample["path"] for sample in inside.samples(["eve"])] == ["eve/a.txt", "eve/notes.txt"]
    walk = inside.walk("eve")
    for path, _status, _folder in walk:
        if path == "folder/below":
            shutil.move(homes / "eve/folder", homes / "ada/moved")
    assert not any(path.startswith("moved") for path, _status, _folder in walk)


def test_no_link_is_followed(homes: Path) -> None:
    (homes / "eve/ada").symlink_to(homes / "ada")
    (homes / "link").symlink_to(homes / "ada")
    assert [sample["path"] for sample in inside.samples(["eve", "link"])] == ["eve/notes.txt"]


def test_endless_folders_end_the_search(homes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inside, "LOOKED_THROUGH", 50)
    for number in range(200):
        (homes / f"eve/{number}").mkdir()
    assert len(inside.samples(["eve"])) <= 1 and inside.samples(["ada"])
