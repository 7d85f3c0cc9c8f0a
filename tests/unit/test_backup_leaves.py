# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which directories are in a backup, and which of them a restore and a drill find."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from carrel_backup import containers, inside, manifest, receiving, restore, targets
from carrel_backup.run import BackupError
from carrel_backup.transfer import Move
from carrel_backup.wanted import Wanted
from test_backup_shadow import Engine, engine_of

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


@pytest.fixture
def hub(tmp_path: Path) -> Engine:
    return engine_of("hub", tmp_path)


def test_what_a_snapshot_lacks_is_named_and_the_rest_goes_on(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "instance/data/groups/g").mkdir(parents=True)
    (tree / "instance/data/README").write_text("")
    (tree / "instance/data/link").symlink_to(tree)
    leaves = ["data/README", "data/groups/g", "data/link", "data/users/ada/home"]
    there, lacking = restore.directories(str(tree), leaves, set())
    assert there == ["data/groups/g"]
    assert lacking == [
        "data/README is not a directory in the snapshot, so it was not restored: make it again by hand",
        "data/link is not a directory in the snapshot, so it was not restored: make it again by hand",
        "data/users/ada/home is not in the snapshot, so it was not restored; an earlier one may have it (--snapshot)",
    ]


@pytest.mark.parametrize("last", [False, True])
def test_a_move_goes_on_without_what_the_snapshot_lacks_and_names_it_once(
    hub: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: bool
) -> None:
    listed = manifest.Manifest(["data/README", "data/groups/g"], None, [])
    monkeypatch.setattr(restore, "manifest_of", lambda *_given: listed)
    monkeypatch.setattr(receiving, "as_account", lambda *_given, **_more: "")
    monkeypatch.setattr(receiving, "listed", lambda _run: [{"id": "abc", "series": None}])
    monkeypatch.setattr(restore, "check_room", lambda *_given, **_more: None)
    monkeypatch.setattr(
        restore,
        "fetch",
        lambda _run, _snapshot, _paths, tree, *_options, **_more: os.makedirs(f"{tree}/instance/data/groups/g"),
    )
    (tmp_path / "pack").touch()
    monkeypatch.setattr(containers, "resets_kept_out", lambda _run: contextlib.nullcontext())
    monkeypatch.setattr(receiving, "place", lambda _move: None)
    (tmp_path / "instance.json").write_text("{}")
    move = Move(hub, {"pack": str(tmp_path / "pack"), "more": False, "snapshot": "abc", "place": last})
    said = ["data/README is not in the snapshot, so it was not restored"]
    assert receiving.receive(move)["warnings"] == (said if last else [])
    received = json.loads(Path(hub.settings.state_directory, "received.json").read_text())
    assert (received["leaves"], received["database"]) == (["data/groups/g"], None)


@pytest.mark.parametrize(
    ("then", "now", "refused"),
    [
        ({"database": "jupyterhub.sqlite"}, "postgresql", "set database: sqlite in the inventory"),
        ({"database": "jupyterhub.pgdump"}, "sqlite", "set database: postgresql in the inventory"),
        ({"instance": {"database": "postgresql"}}, "sqlite", "set database: postgresql in the inventory"),
        ({"database": "jupyterhub.sqlite"}, "sqlite", ""),
        ({"instance": {"database": "oracle"}}, "sqlite", ""),
        ({"instance": [], "database": None}, "sqlite", ""),
    ],
)
def test_a_database_of_another_type_is_refused_before_anything_is_fetched(
    hub: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, then: dict[str, Any], now: str, refused: str
) -> None:
    """Only a restore of everything brings the database."""
    text = json.dumps({"leaves": ["data/users/ada/home"], "database": None, "samples": [], **then})
    (tmp_path / "instance.json").write_text(json.dumps({"database": now}))
    chosen = {"id": "abcdefgh", "time": "2030-01-01T02:30:00Z", "on": "geo1", "series": None}
    monkeypatch.setattr(restore, "listed", lambda _run: [])
    monkeypatch.setattr(restore, "pick", lambda *_given: chosen)
    monkeypatch.setattr(restore, "manifest_of", lambda *_given: manifest.read(text, "hub"))
    fetched: list[Wanted] = []
    monkeypatch.setattr(restore, "restore_leaves", lambda _run, _id, wanted, *_given: fetched.append(wanted))
    monkeypatch.setattr(restore, "restore_path", lambda _run, _found, wanted, *_given: fetched.append(wanted))
    parts = [Wanted(user="ada"), Wanted(path="data/hub/x")]
    for part in parts:
        restore.restore(hub, "latest", part)
    if refused:
        with pytest.raises(BackupError, match=refused):
            restore.restore(hub, "latest", Wanted())
    else:
        parts.append(Wanted())
        restore.restore(hub, "latest", Wanted())
    assert fetched == parts


def test_a_drill_of_what_the_snapshot_lacks_fails(tmp_path: Path) -> None:
    below = "instance/data/users/ada/home"
    found = inside.compare(str(tmp_path), {"nodes": [], "samples": [], "below": [below], "number": 0})
    assert found["problems"] == [f"{below}: it is not in the snapshot, though its list names it"]
