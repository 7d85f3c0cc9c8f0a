# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What people may ask of the backups of their home, and where it is put."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.carrel.jupyter.plugins.module_utils._site import backup
from carrel_backup import asked, inside, snapshots, trees
from carrel_backup.answer import opened_lock
from carrel_backup.asked import RefusedError
from carrel_backup.state import State

SNAPSHOT = "ab" * 32
SINCE = 1893465000  # the second of the snapshot 01
ALL = [{"what": "folder", "user": "ada", "snapshot": SNAPSHOT, "parts": ["a"]}]


def read(**changes: Any) -> asked.Asked:
    return asked.read(json.dumps({**ALL[0], **changes}))


def test_a_path_is_below_the_home_of_who_asks() -> None:
    found = read(user="grace@uni.example", parts=["a b", "\udcff\n"])
    assert found.leaf == "data/users/grace-40uni-2eexample/home"
    assert found.inside == ["instance", "data", "users", "grace-40uni-2eexample", "home", "a b", "\udcff\n"]
    assert read(what="snapshots", snapshot="", parts=[]).parts == ()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        *(
            ({"parts": [part]}, "no such file or folder")
            for part in ("..", ".", "", "/", "a/b", "a\0", "x" * 256, "\ud800", 1, None, ["a"])
        ),
        ({"parts": "a"}, "no such file or folder"),
        ({"parts": None}, "no such file or folder"),
        *(
            ({"snapshot": text}, "no such backup")
            for text in ("latest", "", SNAPSHOT[:8], f"{SNAPSHOT}:/", f"{SNAPSHOT}\n", SNAPSHOT.upper(), None, 1)
        ),
        *(
            ({"user": name}, "damaged")
            for name in ("", "..", "a/b", "Ada", "\x02d", "a\0", "\udcff", "x" * 300, None, 1, ["ada"])
        ),
        ({"what": "delete"}, "damaged"),
        ({"what": None}, "damaged"),
        *(({"page": page}, "no such page") for page in (-1, 10**6, "0", 0.5, True, None)),
    ],
)
def test_what_leads_elsewhere_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(RefusedError, match=said):
        read(**changes)


@pytest.mark.parametrize("text", ["", "x", "[]", "null", "1", '"x"', "{}", "[" * 60_000, '{"what": "folder"}'])
def test_what_is_no_request_is_refused(text: str) -> None:
    with pytest.raises(RefusedError, match="damaged"):
        asked.read(text)


def snapshot(identity: str, of: str, *homes: str, on: str = "geo1") -> dict[str, Any]:
    paths = [f"/run/carrel/backup/class101/view/instance/data/users/{home}/home" for home in homes]
    return {"id": identity, "time": f"2030-01-{identity}T02:30:00.123456789Z", "of": of, "on": on, "series": None,
            "paths": paths}  # fmt: skip


def test_only_snapshots_that_have_the_home_are_listed_newest_first() -> None:
    found = [
        snapshot("01", "whole", "grace"),
        snapshot("02", "whole", "ada", "grace"),
        snapshot("03", "user:grace", "grace"),
        snapshot("04", "user:ada", "ada"),
        snapshot("05", "group:ada", "ada"),
        snapshot("06", "whole", "bada"),
        snapshot("07", "whole", "ada", on="another"),
    ]
    state = State("", "class101")
    assert asked.of_user(found, read(), "geo1", state) == [], "they may be of a removed hub, with another ada"
    state.content["begun"] = "2030-01-01T02:30:00+00:00"
    assert [each["id"] for each in asked.of_user(found, read(), "geo1", state)] == ["04", "02"]
    moved = [each["id"] for each in asked.of_user(found[-1:], read(), "geo1", state)]
    assert moved == ["07"], "after a move, the other's"
    state.content["past"] = ["another"]
    both = [each["id"] for each in asked.of_user(found, read(), "geo1", state)]
    assert both == ["07", "04", "02"], "the past on another host stays"
    mine = asked.of_user([*found, snapshot("01", "whole", "ada")], read(), "geo1", state, SINCE + 86400)
    assert [each["id"] for each in mine] == ["07", "04", "02"]
    mine = asked.of_user(found, read(), "geo1", state, SINCE + 86401)
    assert [each["id"] for each in mine] == ["07", "04"], "the others may have files of somebody else"
    state.content["series"] = "2030-01-09T02:30:00+00:00"
    assert asked.of_user(found, read(), "geo1", state) == []
    assert asked.when(found[0]["time"]) == "2030-01-01T02:30:00+00:00"


def test_the_folder_is_called_after_the_day_by_the_hosts_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    import time

    time.tzset()
    assert snapshots.label("2030-01-31T22:30:00.5Z") == "restored-2030-02-01"
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    "time", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "0000-01-01T00:00:00Z", "x"]
)
def test_a_snapshot_of_an_impossible_time(time: str) -> None:
    """The account can write one into its repository. Programs report a ValueError."""
    now = snapshots.utc()
    for use in (snapshots.label, snapshots.parsed, asked.when, lambda text: snapshots.is_ahead(text, now)):
        with pytest.raises(ValueError):
            use(time)
    assert snapshots.end_of(time) is None and snapshots.end_of("9999-12-31") is None


def test_who_brings_back_too_often_waits() -> None:
    now = 10_000.0
    times = [now - 3500 + number for number in range(asked.MOST_AN_HOUR - 1)]
    assert asked.recent([*times, now - 3601, now + 1, "x", None], now) == times
    with pytest.raises(RefusedError, match=r"20 times within an hour\. Wait 2 minutes"):
        asked.recent([*times, now], now)


@pytest.mark.parametrize(
    ("stored", "name"),
    [
        ("plain", b"plain"),
        ("ümläut", "ümläut".encode()),
        (r"new\nline\t", b"new\nline\t"),
        (r"back\\slash\"", b'back\\slash"'),
        (r"\xff\xfe", b"\xff\xfe"),
        (r"\u00a0\U0001f600", "\u00a0\U0001f600".encode()),
        (r"\\xff", rb"\xff"),
        (r"a\a\b\f\v\r", b"a\a\b\f\v\r"),
    ],
)
def test_names_are_the_bytes_that_restic_saw(stored: str, name: bytes) -> None:
    assert os.fsencode(trees.unquoted(stored)) == name


def test_folders_come_first() -> None:
    times = {"mtime": "2030-01-31T02:30:00.123456789Z"}
    nodes = [
        {"name": "b", "type": "file", "size": 3, **times},
        {"name": "A", "type": "symlink", **times},
        {"name": "z", "type": "dir", **times},
        {"name": "pipe", "type": "fifo", **times},
    ]
    found = list(trees.entries(json.dumps({"nodes": nodes})))
    assert [(each["name"], each["type"], each["size"]) for each in found] == [
        ("z", "dir", 0), ("A", "symlink", 0), ("b", "file", 3), ("pipe", "other", 0),
    ]  # fmt: skip
    assert found[0]["modified"] == "2030-01-31T02:30:00"
    assert list(trees.entries('{"nodes": null}')) == []


@pytest.fixture
def home(tmp_path: Path) -> Path:
    found = tmp_path / "users" / "ada" / "home"
    found.mkdir(parents=True)
    found.chmod(0o750)
    return found


def stage(tmp_path: Path, name: str) -> str:
    tree = tmp_path / "tree"
    (tree / "restored" / name).mkdir(parents=True)
    (tree / "restored" / name / "file").write_text("back")
    return str(tree)


def test_each_goes_into_a_folder_of_its_own(tmp_path: Path, home: Path) -> None:
    for expected in ("restored-1", "restored-1-2", "restored-1-3"):
        tree = stage(tmp_path, "thesis")
        assert inside.bring(tree, "restored/thesis", str(home), "restored-1", False) == expected
        assert (home / expected / "thesis" / "file").read_text() == "back"
        assert stat.S_IMODE((home / expected).stat().st_mode) == 0o750, "as open as the home"


def test_the_whole_home_is_the_folder(tmp_path: Path, home: Path) -> None:
    assert inside.bring(stage(tmp_path, "home"), "restored/home", str(home), "restored-1", True) == "restored-1"
    assert (home / "restored-1" / "file").read_text() == "back"


@pytest.mark.parametrize("kind", ["file", "link", "dangling", "folder"])
def test_what_is_there_is_neither_followed_nor_replaced(tmp_path: Path, home: Path, kind: str) -> None:
    other = tmp_path / "users" / "grace"
    other.mkdir()
    taken = home / "restored-1"
    if kind == "file":
        taken.write_text("mine")
    elif kind == "folder":
        taken.mkdir()
    else:
        taken.symlink_to(other if kind == "link" else "/nowhere")
    before = os.lstat(taken)
    assert inside.bring(stage(tmp_path, "x"), "restored/x", str(home), "restored-1", False) == "restored-1-2"
    assert os.lstat(taken).st_ino == before.st_ino and list(other.iterdir()) == []


def test_what_is_not_in_the_snapshot_is_told(tmp_path: Path, home: Path) -> None:
    assert inside.bring(stage(tmp_path, "x"), "restored/y", str(home), "restored-1", False) == inside.MISSING
    assert list(home.iterdir()) == []


def test_a_link_in_the_place_of_the_home_is_refused(tmp_path: Path) -> None:
    link = tmp_path / "home"
    link.symlink_to(tmp_path)
    with pytest.raises(OSError, match=r"Not a directory|Too many levels"):
        inside.bring(stage(tmp_path, "x"), "restored/x", str(link), "restored-1", False)


def test_a_user_has_one_lock(tmp_path: Path) -> None:
    held = opened_lock(str(tmp_path), "ada")
    assert held is not None
    code = "import sys; from carrel_backup.answer import opened_lock; print(opened_lock(sys.argv[1], sys.argv[2]))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    for name, free in (("ada", False), ("grace", True)):
        answer = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path), name],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        assert (answer.stdout != "None\n") is free
    os.close(held)


def job(name: str, kind: str = "hub", **changes: Any) -> dict[str, Any]:
    return {"name": name, "kind": kind, "state": "present", "backup": {"at": None}, **changes}


def test_sockets_are_opened_and_closed_as_declared() -> None:
    jobs = [job("class101"), job("new"), job("tao", "lab"), job("gone", state="absent"), job("off", backup=None)]
    listed = (
        "carrel-backup-page-class101.socket loaded    active   listening Where\n"
        "carrel-backup-page-gone.socket     loaded    active   listening Where\n"
        "carrel-backup-page-off.socket      not-found inactive dead      x\n"
        "carrel-backup-page-other.socket    loaded    active   listening of an instance that this run leaves out\n"
    )
    found = backup.sockets(jobs, listed, ["new"])
    assert found["open"] == [{"name": "carrel-backup-page-class101.socket"}]
    assert found["close"] == ["carrel-backup-page-gone.socket", "carrel-backup-page-off.socket"]
    assert [unit["name"] for unit in backup.sockets(jobs[:2], "")["open"]] == [
        "carrel-backup-page-class101.socket",
        "carrel-backup-page-new.socket",
    ]
