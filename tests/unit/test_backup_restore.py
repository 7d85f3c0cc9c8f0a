# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Directories and files of a restore and a drill: whose they are, where they lead, and whether there is room."""

from __future__ import annotations

import dataclasses
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
    Repository,
)
from carrel_backup import containers, drill, inside, manifest, placing, restore, targets
from carrel_backup.commands import Account
from carrel_backup.programs import EndlessError
from carrel_backup.restic import Answer, Needed, Restic, ResticError
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
    monkeypatch.setattr(restore, "fetch", lambda *_arguments, **_more: None)  # restic is in the integration tests
    beside = f"{engine.settings.directory}/data/.restoring"
    with pytest.raises(containers.InUseError), restore.fetched(engine, "abc", [], exchanged=True):
        raise containers.InUseError("ada uses it")
    assert os.listdir(beside) == []
    with pytest.raises(OSError), restore.fetched(engine, "abc", []):
        raise OSError("a link is in the way")
    assert os.listdir(beside) == []
    with pytest.raises(OSError), restore.fetched(engine, "abc", [], exchanged=True):
        raise OSError("the old files are there by now")
    assert len(os.listdir(beside)) == 1


# Room


def sizes(engine: Engine, **found: int) -> None:
    class Sizes(Restic):
        def size(self, snapshot: str, paths: Sequence[str], room: int | None = None) -> Needed:
            return Needed(sum(size for name, size in found.items() for path in paths if name in path), 5, "big.img")

    engine.restic = Sizes(engine.settings, engine.account)


def test_a_restore_and_a_drill_leave_room_to_people(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    free = restore.room(engine)
    status = os.statvfs(engine.settings.directory)
    assert free < status.f_frsize * status.f_bavail
    monkeypatch.setattr(restore, "room", lambda _run: 100)
    sizes(engine, ada=101, grace=60, database=30)
    home = ["instance/data/users/ada/home"]
    with pytest.raises(BackupError, match=r"free some space, or restore a part.*big.img with 5 bytes.*--accept-size"):
        restore.check_room(engine, "abc", home, Wanted())
    with pytest.raises(BackupError, match=r"free some space$"):
        restore.check_room(engine, "abc", home)
    restore.check_room(engine, "abc", home, Wanted(accept_size=True))
    assert "needs 101 bytes, but only 100 bytes may be used" in engine.state.entry["message"]
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
found = [("dir", 4096, 1), ("file", 3, 2), ("file", 3, 2), ("file", 2**40, 3), ("symlink", 7, 4), ("file", None, 5)]
found += [("file", 2**40, 3), ("file", 2**20, 3), ("file", 2**20, 6), ("file", 2**20, 0), ("file", 2**20, 0)]
for kind, size, inode in found:
    path = f"{sys.argv[-1]}/{size}"
    print(json.dumps({"message_type": "node", "type": kind, "path": path, "size": size, "inode": inode}))
if sys.argv[-1] == "/missing":
    sys.exit("no such snapshot")
"""


class Process(Account):
    """restic is a program that answers like it."""

    def mapped(self) -> list[str]:
        return [sys.executable, "-c", LS]


def test_the_size_of_what_a_snapshot_has(engine: Engine) -> None:
    asked = Restic(engine.settings, Process("root", os.getuid(), os.getgid(), "/", frozenset(), ()))
    found = asked.size("abc", ["instance/data"])
    assert found.bytes == 2 * 2**40 + 6 + 4 * 2**20, "equal inodes may be those of two file systems"
    assert (found.largest, found.path, found.too_long) == (2**40, f"instance/data/{2**40}", 0)
    found = asked.size("abc", ["instance/data"], len(f"instance/data/{2**20}"))
    assert (found.too_long, found.example) == (2, f"instance/data/{2**40}")
    with pytest.raises(ResticError, match="no such snapshot"):
        asked.size("abc", ["missing"])


MANY = """
import json
for number in range(300_000):
    path = f"/instance/data/users/ada/home/{number:0200}"
    print(json.dumps({"message_type": "node", "type": "file", "path": path, "uid": 1, "inode": 1, "name": path}))
for name in ("home", "homes"):
    print(json.dumps({"message_type": "node", "type": "dir", "path": f"/instance/data/users/ada/{name}"}))
"""


class Large(Account):
    def mapped(self) -> list[str]:
        return [sys.executable, "-c", MANY]


@pytest.mark.parametrize("most", [100, 200_000, 299_999, 300_000])
def test_a_drill_chooses_among_however_many_files_there_are(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(drill, "MOST_COMPARED", most)
    engine.restic = Restic(engine.settings, Large("root", os.getuid(), os.getgid(), "/", frozenset(), ()))
    home = "/instance/data/users/ada/home"
    found, number = drill.contents(engine, "abc", [home.lstrip("/")])
    assert number == 300_001 and len(found) == most + 1 and found[0] == {"type": "dir", "path": home}
    assert len({node["path"] for node in found}) == len(found) and set(found[1]) == {"type", "path", "uid"}
    places = [int(node["path"].rsplit("/", 1)[1]) for node in found[1:]]
    assert 75_000 < sum(places) / most < 225_000, "from the beginning to the end"


def test_a_drill_of_too_many_files_compares_those_that_were_chosen(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    for name in ("a", "b", "c", "d.ipynb"):
        (home / name).write_text("x")
    owner = {"uid": os.getuid(), "gid": os.getgid(), "mode": 0o600}
    nodes = [{"path": "/home", "type": "dir", **owner, "mode": home.stat().st_mode & 0o777}]
    nodes += [{"path": f"/home/{name}", "type": "file", "size": 1, **owner} for name in ("a", "gone")]
    (home / "a").chmod(0o600)
    expected = {"nodes": nodes, "samples": [], "below": ["home"], "number": 5}
    found = inside.compare(str(tmp_path), expected)
    assert found["problems"] == ["home/gone: it was not restored"], "b, c and d are not among those that were chosen"
    assert found["files"] == 5
    found = inside.compare(str(tmp_path), {**expected, "number": 6})
    assert "5 files and folders were restored, and the snapshot has 6" in found["problems"]
    assert drill.found_as(5, 5) == drill.found_as(5, 6) == "5 files as in the snapshot"
    assert drill.found_as(500, 3) == "3 files, chosen at random from 500, as in the snapshot"


# Damage


HOME = "instance/data/users/ada/home"
DAMAGED = (f"tree/{HOME}/thesis", "ciphertext verification failed")


def answered(*errors: tuple[str, str], summary: bool = True, **more: Any) -> Answer:
    return Answer(1, {"files_restored": 1} if summary else {}, list(errors), ["no"], **more)


@pytest.mark.parametrize(
    ("answer", "accept", "refused"),
    [
        (Answer(0, {}, [], []), None, None),
        (answered(DAMAGED), True, None),
        (answered(DAMAGED), False, "home/thesis: ciphertext verification failed; accept_damaged"),
        (answered(DAMAGED), None, "home/thesis: ciphertext verification failed$"),
        (answered(DAMAGED, summary=False), True, "verification failed$"),
        (answered(DAMAGED, full=True), True, "verification failed$"),
        (answered(DAMAGED, broken=True), True, "verification failed$"),
        (answered(DAMAGED, unnamed=1), True, "2 files are damaged, too many to be named"),
        (answered(DAMAGED, unnamed=2, long=1), True, "too many to be named"),
        (answered(DAMAGED, unnamed=2, long=2), True, None),
        (answered(), True, "exit code 1: no$"),
        (answered(DAMAGED, ("tree/stage/database/x", "damaged")), True, "stage/database/x: damaged. .*without it"),
        (answered(DAMAGED, ("tree/instance/data/hub/x", "damaged")), True, "without it"),
        (answered(("tree/instance/hub/identities.json", "damaged")), True, "without it"),
        (answered(("tree/instance/data", "damaged")), True, "without it"),
    ],
)
def test_what_is_damaged_is_left_out_only_if_that_is_accepted(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, answer: Answer, accept: bool | None,
    refused: str | None,
) -> None:  # fmt: skip
    """Not if the disk was full or went away, if restic did not come to its end, or if the rest needs it."""
    tree = tmp_path / "tree"
    (tree / HOME).mkdir(parents=True)
    for name in ("thesis", "notes"):
        (tree / HOME / name).touch()
    engine.restic = Repository(engine)
    errors = [(f"{tmp_path}/{path}".lstrip("/"), what) for path, what in [*answer.errors, *answer.errors]]
    monkeypatch.setattr(engine.restic, "call", lambda *_given, **_more: dataclasses.replace(answer, errors=errors))
    monkeypatch.setattr(
        engine, "inside", lambda _command, where, given: inside.leave_out(where, given)
    )  # as the account in its map
    if refused:
        with pytest.raises(BackupError, match=refused):
            restore.fetch(engine, "abc", [HOME], str(tree), accept=accept)
        return
    restore.fetch(engine, "abc", [HOME], str(tree), accept=accept)
    if answer.errors:
        first, second = engine.state.entry["warnings"]
        assert first.startswith("1 files or folders were not restored")
        assert ("2 more whose paths are too long" in first) is (answer.long == 2)
        assert second == f"not restored: {HOME}/thesis: ciphertext verification failed"
        assert os.listdir(tree / HOME) == ["notes"]


MANY_ERRORS = """
import json, sys
for number in range(30_000):
    what = LAST if number == 29_000 else f"open /tree/quota/timeout/{number}: file name too long"
    print(json.dumps({"message_type": "error", "item": f"/tree/{number}", "error": {"message": what}}))
print(json.dumps({"message_type": "summary", "files_restored": 1}))
"""


@pytest.mark.parametrize(
    ("last", "found"),
    [
        ("open /tree/x: file name too long", (False, False)),
        ("write /tree/x: No space left on device", (True, False)),
        ("write /tree/x: disk quota exceeded", (True, False)),
        ("ReadFull(<data/ab>): read tcp 1.2.3.4:5->6.7.8.9:443: connection reset by peer", (False, True)),
        ("Get https://x/data/ab: dial tcp: lookup x: no such host", (False, True)),
        ("open /mnt/x/data/ab: stale NFS file handle", (False, True)),
        ("context deadline exceeded", (False, True)),
        ("write /tree/x: input/output error", (False, True)),
        ("ReadFull(<data/ab>): read /srv/repository/data/ab: input/output error", (False, False)),
        ("ciphertext verification failed", (False, False)),
    ],
)
def test_the_kind_of_each_of_many_errors_is_seen(engine: Engine, last: str, found: tuple[bool, bool]) -> None:
    """Whatever names people gave to their files."""

    class Failing(Account):
        def mapped(self) -> list[str]:
            return [sys.executable, "-c", MANY_ERRORS.replace("LAST", repr(last))]

    settings = dataclasses.replace(engine.settings, repository="/srv/repository")
    asked = Restic(settings, Failing("root", os.getuid(), os.getgid(), "/", frozenset(), ()))
    answer = asked.call("restore")
    assert (answer.full, answer.broken) == found
    assert (len(answer.errors), answer.unnamed) == (20_000, 10_000)
    assert answer.long == (10_000 if last.endswith("too long") else 9_999)


def test_restic_ends_once_people_have_too_little_room(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    rooms = [5, 0, -1]
    monkeypatch.setattr(restore, "room", lambda _run: rooms.pop(0))
    told: list[Any] = []
    take = restore.guarded(engine, told.append)
    take({"percent_done": 0.1})
    take({"percent_done": 0.2})
    with pytest.raises(EndlessError, match="left too little free space"):
        take({"percent_done": 0.3})
    assert len(told) == 2


@pytest.mark.parametrize("accept", [True, False])
def test_a_damaged_list_of_files_is_named_and_may_be_accepted(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, accept: bool
) -> None:
    def size(*_given: Any) -> Needed:
        raise ResticError("restic ls ended with exit code 2: panic", 2)

    monkeypatch.setattr(engine.restic, "size", size)
    if accept:
        restore.check_room(engine, "abc", [HOME], Wanted(accept_damaged=True))
        assert "the size is not known" in engine.state.entry["warnings"][0]
    else:
        with pytest.raises(BackupError, match=r"panic; accept_damaged \(--accept-damaged\) restores the rest"):
            restore.check_room(engine, "abc", [HOME], Wanted())
        with pytest.raises(BackupError, match=r"panic$"):
            restore.check_room(engine, "abc", [HOME], tree="/srv/tao/data/.restoring/move/tree")


@pytest.mark.parametrize("accept", [True, False])
def test_paths_that_are_too_long_are_refused_before_anything_is_fetched(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, accept: bool
) -> None:
    monkeypatch.setattr(engine.restic, "size", lambda *_given: Needed(5, 5, "x", 3, "y" * 4000))
    if accept:
        restore.check_room(engine, "abc", [HOME], Wanted(accept_damaged=True))
    else:
        with pytest.raises(BackupError, match=r"3 paths are too long .*, such as y+; accept_damaged"):
            restore.check_room(engine, "abc", [HOME], Wanted())
        with pytest.raises(BackupError, match=r"3 paths are too long to be written below /tree/, such as y+$"):
            restore.check_room(engine, "abc", [HOME], tree="/tree")


SLOW = """
import json, time
status = {"message_type": "status", "current_files": [VIEW + "/view/instance/data/users/eve/home/huge.img"]}
print(json.dumps(status), flush=True)
time.sleep(30)  # it hangs, until it is ended
"""


class Slow(Account):
    def mapped(self) -> list[str]:
        return [sys.executable, "-c", SLOW.replace("VIEW", repr(self.home))]


def test_a_backup_that_takes_too_long_names_the_file(engine: Engine) -> None:
    settings = dataclasses.replace(engine.settings, deadline_seconds=1)
    asked = Restic(settings, Slow("root", os.getuid(), os.getgid(), settings.run_directory, frozenset(), ()))
    with pytest.raises(ResticError, match=r"killed, at instance/data/users/eve/home/huge\.img$"):
        asked.call("backup")


# Disks of their own

OWN = {"data/users": "7", "data/groups/a b": "8", "data/.kept": "1", "data": "1"}


@pytest.mark.parametrize(
    ("leaf", "apart"),
    [
        ("data/users/ada/home", True),
        ("data/groups/a b", True),
        ("data/groups/a", False),
        ("data/usersx", False),
        ("data/notebooks", False),
    ],
)
def test_no_restore_begins_that_cannot_put_in_place(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, leaf: str, apart: bool
) -> None:
    def mount_of(path: str) -> str:
        below = path.removeprefix(f"{engine.settings.directory}/")
        return OWN.get(below) or mount_of(os.path.dirname(path))

    monkeypatch.setattr(placing, "mount_of", mount_of)
    if not apart:
        placing.check_places(engine, ["data/notebooks", leaf])
        return
    with pytest.raises(BackupError, match=f"{leaf} is on another mount than .*/data, so nothing can be put in place"):
        placing.check_places(engine, ["data/notebooks", leaf])


def test_the_mount_of_a_path_is_that_of_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/proc")
    (tmp_path / "file").touch()
    here = placing.mount_of(str(tmp_path))
    assert {placing.mount_of(f"{tmp_path}/{name}") for name in ("gone/x", "link", "link/self", "file", "file/x")} == {
        here
    }
    assert placing.mount_of("/proc/self") != here
