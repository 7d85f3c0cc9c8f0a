# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Directories and files of a restore and a drill: whose they are, where they lead, and whether there is room."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from backup_helpers import (
    AFTER,
    STOP,
    Engine,
)
from carrel_backup import containers, drill, inside, manifest, restore, targets
from carrel_backup.commands import Account
from carrel_backup.restic import Restic, ResticError
from carrel_backup.run import BackupError
from carrel_backup.wanted import Wanted


def test_whose_a_directory_is() -> None:
    found = ["compose.yaml", "data/groups/g", "data/hub", "data/users/ada/home", "data/users/ada-40x/home"]
    assert [targets.user_of(leaf) for leaf in found] == [None, None, None, "ada", "ada@x"]
    assert targets.chosen(found, "ada", None) == ["data/users/ada/home"]
    assert targets.chosen(found, None, "g") == ["data/groups/g"]
    assert targets.chosen(found, "a*", None) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_repository_that_a_purge_took_is_given_to_the_next_account(tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    for name in ("data/00", "keys", "snapshots"):
        (repository / name).mkdir(parents=True)
    victim = tmp_path / "victim"
    victim.touch()
    os.link(victim, repository / "keys" / "hard")
    (repository / "keys" / "link").symlink_to(victim)
    targets.give(str(repository), 12345, 12345)
    assert repository.stat().st_uid == 0, "it is not one of restic's"
    (repository / "config").touch()
    targets.give(str(repository), 12345, 12345)
    assert repository.stat().st_uid == 0, "somebody else can enter it"
    repository.chmod(0o700)
    os.chown(repository / "data" / "00", 12340, 12340)
    targets.give(str(repository), 12345, 12345)
    owners = {name: (repository / name).stat().st_uid for name in (".", "config", "data", "data/00", "keys")}
    assert set(owners.values()) == {12345}, owners
    assert victim.stat().st_uid == 0
    os.chown(repository / "config", 12340, 12340)
    targets.give(str(repository), 12346, 12346)
    assert (repository / "config").stat().st_uid == 12340, "another account's is left alone"
    targets.give(str(tmp_path / "missing"), 12345, 12345)


def test_a_pattern_means_one_path_alone() -> None:
    assert restore.literal("a[1]*?\\$x") == "a\\[1]\\*\\?\\\\$x"


# What the account may have written


def manifest_text(**more: Any) -> str:
    return json.dumps({"leaves": ["data/hub", "token"], "database": None, "samples": [], **more})


def test_a_manifest_is_read() -> None:
    text = manifest_text(database="jupyterhub.pgdump", samples=[{"path": "instance/data/hub/x"}])
    found = manifest.read(text, "hub")
    assert (found.leaves, found.database) == (["data/hub", "token"], "jupyterhub.pgdump")
    assert manifest.read(manifest_text(), "lab").database is None


def test_what_was_being_deleted_is_not_restored_from_an_old_snapshot() -> None:
    kept = ["data/hub", "data/users/.trashy/home", "data/users/ada/home"]
    deleted = ["data/users/.trash", "data/users/.trash/bob-20200101T000000Z/home"]
    assert manifest.read(manifest_text(leaves=sorted(kept + deleted)), "hub").leaves == kept
    with pytest.raises(BackupError, match="somebody changed it"):
        manifest.read(manifest_text(leaves=["data/users/.trash/../../../etc"]), "hub")


@pytest.mark.parametrize(
    "more",
    [
        {"database": "../../../../../../etc/shadow"},
        {"database": "/etc/shadow"},
        {"database": ["jupyterhub.sqlite"]},
        {"leaves": ["data/../../other/data/users/ada/home"]},
        {"leaves": ["/etc"]},
        {"leaves": ["data//hub"]},
        {"leaves": ["data/./hub"]},
        {"leaves": ["data/.kept"]},
        {"leaves": ["data/.restoring/x"]},
        {"leaves": [""]},
        {"leaves": [None]},
        {"leaves": "data"},
        {"samples": [{"path": 1}]},
        {"samples": None},
    ],
)
def test_a_manifest_leads_nowhere_else(more: dict[str, Any]) -> None:
    with pytest.raises(BackupError, match="somebody changed it"):
        manifest.read(manifest_text(**more), "hub")


def test_a_lab_has_no_database() -> None:
    with pytest.raises(BackupError, match="database"):
        manifest.read(manifest_text(database="jupyterhub.pgdump"), "lab")
    for text in ("[]", "{}", "x", "1"):
        with pytest.raises(BackupError, match="manifest is damaged"):
            manifest.read(text, "hub")


def test_no_part_of_an_opened_path_leads_up(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("x")
    os.close(targets.opened(f"{tmp_path}/file", os.O_RDONLY))
    with pytest.raises(OSError, match=r"\.\."):
        targets.opened(f"{tmp_path}/folder/../file", os.O_RDONLY)


def test_the_tree_of_a_move_to_this_host_is_left_alone(engine: Engine, tmp_path: Path) -> None:
    beside = Path(engine.settings.directory, restore.BESIDE)
    for name in (restore.MOVING, "20300101T000000Z"):
        (beside / name).mkdir(parents=True)
    move = tmp_path / "move" / "move.json"
    move.parent.mkdir()
    move.touch()
    restore.put_old_aside(engine)
    assert os.listdir(beside) == [restore.MOVING]
    move.unlink()  # given up
    restore.put_old_aside(engine)
    assert os.listdir(beside) == []


def test_a_refusal_keeps_no_copy_of_what_was_fetched(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restore, "fetch", lambda *_arguments: None)  # restic is in the integration tests
    with pytest.raises(containers.InUseError), restore.fetched(engine, "abc", []):
        raise containers.InUseError("ada uses it")
    assert os.listdir(f"{engine.settings.directory}/data/.restoring") == []


# Room


def sizes(engine: Engine, **found: int) -> None:
    class Sizes(Restic):
        def size(self, snapshot: str, paths: Sequence[str]) -> int:
            return sum(size for name, size in found.items() for path in paths if name in path)

    engine.restic = Sizes(engine.settings, engine.account)


def test_a_restore_and_a_drill_leave_room_to_people(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    free = restore.room(engine)
    status = os.statvfs(engine.settings.directory)
    assert free < status.f_frsize * status.f_bavail
    monkeypatch.setattr(restore, "room", lambda _run: 100)
    sizes(engine, ada=101, grace=60, database=30)
    with pytest.raises(BackupError, match="free some space, or restore a part"):
        restore.check_room(engine, "abc", ["instance/data/users/ada/home"])
    restore.check_room(engine, "abc", ["instance/data/users/grace/home", "stage/database/x"])
    leaves = ["data/users/ada/home", "data/users/grace/home"]
    for _unused in range(10):
        found = drill.candidates(manifest.Manifest(leaves, None, []))
        assert drill.choose(engine, "abc", found, ["stage/database/x"]) == ("the user grace", leaves[1:])
    with pytest.raises(BackupError, match="nothing was tried"):
        drill.choose(engine, "abc", [("the user ada", leaves[:1])], [])


def test_a_whole_restore_and_a_part_ask_for_room_before_they_fetch(engine: Engine) -> None:
    leaf = "data/users/ada/home"
    sizes(engine, ada=2**62)
    found = manifest.Manifest([leaf], None, [])
    snapshot = {"id": "abc", "time": AFTER}
    with pytest.raises(BackupError, match="free some space"):
        restore.restore_leaves(engine, snapshot, STOP, found, [leaf])
    with pytest.raises(BackupError, match="free some space"):
        restore.restore_path(engine, snapshot, Wanted(user="ada", path="x"), found)
    assert not os.path.exists(f"{engine.settings.directory}/data/.restoring")


LS = """
import json, sys
print(json.dumps({"message_type": "snapshot", "size": 1000}))
for kind, size in (("dir", 4096), ("file", 3), ("file", 2**40), ("symlink", 7), ("file", None)):
    print(json.dumps({"message_type": "node", "type": kind, "path": sys.argv[-1], "size": size}))
if sys.argv[-1] == "/missing":
    sys.exit("no such snapshot")
"""


class Process(Account):
    """restic is a program that answers like it."""

    def mapped(self) -> list[str]:
        return [sys.executable, "-c", LS]


def test_the_size_of_what_a_snapshot_has(engine: Engine) -> None:
    asked = Restic(engine.settings, Process("root", os.getuid(), os.getgid(), "/", frozenset(), ()))
    assert asked.size("abc", ["instance/data"]) == 2**40 + 3
    with pytest.raises(ResticError, match="no such snapshot"):
        asked.size("abc", ["missing"])


MANY = """
import json
for number in range(300_000):
    path = f"/instance/data/users/ada/home/{number:0200}"
    print(json.dumps({"message_type": "node", "type": "file", "path": path, "uid": 1, "inode": 1, "name": path}))
print(json.dumps({"message_type": "node", "type": "dir", "path": "/instance/data/users/ada/homes"}))
"""


class Large(Account):
    def mapped(self) -> list[str]:
        return [sys.executable, "-c", MANY]


def test_a_drill_compares_however_many_files_there_are(engine: Engine) -> None:
    engine.restic = Restic(engine.settings, Large("root", os.getuid(), os.getgid(), "/", frozenset(), ()))
    found = drill.contents(engine, "abc", ["instance/data/users/ada/home"])
    assert len(found) == 300_000 and set(found[0]) == {"type", "path", "uid"}


def test_a_file_without_permissions_is_compared(tmp_path: Path) -> None:
    path = tmp_path / "closed"
    path.touch(mode=0o000)
    path.chmod(0)
    status = path.stat()
    node = {"type": "file", "path": "/closed", "uid": status.st_uid, "gid": status.st_gid}
    assert list(inside.different(node, status)) == []
    path.chmod(0o600)
    assert list(inside.different(node, path.stat())) == ["its mode is 0600, not 0000"]
