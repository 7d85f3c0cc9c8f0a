# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from ansible_collections.carrel.jupyter.plugins.module_utils._engine.ids import host_id
from ansible_collections.carrel.jupyter.plugins.module_utils._host import named_volumes, user_directories
from ansible_collections.carrel.jupyter.plugins.module_utils._host.directories import (
    ForeignOwnerError,
    Found,
    Step,
    Wanted,
    decide,
    ensure,
)
from ansible_collections.carrel.jupyter.plugins.module_utils._host.named_volumes import EarlierHubError, NamedVolumes
from ansible_collections.carrel.jupyter.plugins.module_utils._people import user_volumes as volumes
from ansible_collections.carrel.jupyter.plugins.module_utils._people.user_volumes import ROOM

EVE = {"name": "eve", "state": "absent"}


def checked(**more: Any) -> list[str]:
    given = {
        "backend": "directories",
        "path": "/srv/hub/users",
        "users": [{"name": "ada", "state": "present"}],
        "purge": False,
    }
    return volumes.problems(
        {**given, "allow_empty": False, "directories": [{"name": "home", "mode": "0700"}], **more}  # type: ignore[arg-type]
    )


def test_all_problems_are_reported_at_once() -> None:
    names = ["ada", "ada", "../x", "Bob", "n" * 300]
    users = [{"name": name, "state": "present"} for name in names] + [EVE]
    found = checked(users=users, directories=[{"name": "../home", "mode": "rwx"}])
    said = ["'ada' is in the list twice", "slash", "write 'bob'", "230 fit", "purge: true", "plain name", "'rwx'"]
    assert len(found) == len(said)
    assert all(part in problem for part, problem in zip(said, found))


def test_good_parameters_have_no_problem() -> None:
    assert checked() == []
    assert checked(users=[], allow_empty=True) == []
    assert checked(users=[EVE], purge=True) == []


@pytest.mark.parametrize(
    "bad",
    [
        {"users": []},
        {"path": "/srv"},
        {"path": "/"},
        {"directories": []},
        {"directories": [{"name": "home", "mode": "0700"}] * 2},
        {"directories": [{"name": ".archive", "mode": "0700"}]},
    ],
)
def test_what_is_refused(bad: dict[str, Any]) -> None:
    assert len(checked(**bad)) == 1


NAMED = {"backend": "volumes", "path": None, "prefix": "class101"}


def test_volumes_need_a_prefix_and_room_for_the_name_of_an_archived_one() -> None:
    assert checked(**NAMED) == []
    for prefix in ("", "Class", "class_101", "c" * 32):
        assert len(checked(**{**NAMED, "prefix": prefix})) == 1
    fits = ROOM - len("class101__home")
    for length, problems in ((fits, 0), (fits + 1, 1)):
        assert len(checked(**NAMED, users=[{"name": "n" * length, "state": "present"}])) == problems


def test_ids_are_mapped_through_the_account_s_range() -> None:
    text = "other:100000:65536\nclass101:165536:65536\n"
    assert host_id(1000, "class101", 1001, 1002, text) == 165536 + 999
    assert host_id(0, "class101", 1001, 1002, text) == 1002
    assert host_id(1000, "class101", 1001, 1002, "1001:165536:65536\n") == 165536 + 999
    for wrong in ("", "other:100000:65536\n", text + "class101:300000:65536\n"):
        with pytest.raises(ValueError, match="class101 has"):
            host_id(1000, "class101", 1001, 1002, wrong)


IN_VOLUME = Wanted(7, 8, 0o700, maker=1001)
LEAF, SHARED, ROOTS = Wanted(7, 8, 0o700), Wanted(7, 8, 0o2770, enforce=True, acl=True), Wanted(0, 8, 0o751, True)


@pytest.mark.parametrize(
    ("wanted", "found", "step"),
    [
        (LEAF, None, Step.MAKE),
        (LEAF, Found(7, 8, 0o700), Step.NOTHING),
        (LEAF, Found(7, 9, 0o000), Step.NOTHING),
        (LEAF, Found(0, 0, 0o700, empty=True), Step.MAKE),
        (replace(ROOTS, enforce=False), Found(0, 0, 0o700, empty=True), Step.MAKE),
        (replace(ROOTS, enforce=False), Found(0, 0, 0o700), Step.NOTHING),
        (IN_VOLUME, Found(1001, 1001, 0o755, empty=True), Step.MAKE),
        (SHARED, Found(7, 8, 0o2770, acl=True), Step.NOTHING),
        (SHARED, Found(7, 8, 0o2770, acl=None), Step.NOTHING),
        (SHARED, Found(7, 8, 0o2770, acl=False), Step.REPAIR),
        (SHARED, Found(7, 8, 0o770, acl=True), Step.REPAIR),
        (SHARED, Found(7, 9, 0o2770, acl=True), Step.REPAIR),
        (ROOTS, Found(0, 8, 0o751), Step.NOTHING),
        (ROOTS, Found(0, 0, 0o755), Step.REPAIR),
    ],
)
def test_what_is_done_about_a_directory(wanted: Wanted, found: Found | None, step: Step) -> None:
    assert decide("/x", found, wanted) is step


@pytest.mark.parametrize("wanted", [LEAF, SHARED, ROOTS])
@pytest.mark.parametrize("found", [Found(4711, 8, 0o700), Found(4711, 8, 0o700, empty=True)])
def test_a_foreign_owner_is_never_changed(wanted: Wanted, found: Found) -> None:
    with pytest.raises(ForeignOwnerError, match="/x belongs to 4711:8"):
        decide("/x", found, wanted)


def test_files_of_root_are_not_given_away() -> None:
    with pytest.raises(ForeignOwnerError, match=r"chown -R --no-dereference 7:8 /x"):
        decide("/x", Found(0, 0, 0o700, empty=False), LEAF)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives directories away")
@pytest.mark.parametrize("call", ["fchmod", "setxattr"])
def test_the_owner_is_set_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """Interrupted at any other step, a directory is still an empty one of root's, which the next run completes."""

    def interrupt(*_unused: object) -> None:
        raise KeyboardInterrupt

    parent = os.open(tmp_path, os.O_RDONLY)
    with monkeypatch.context() as patched:
        patched.setattr(os, call, interrupt)
        with pytest.raises(KeyboardInterrupt):
            ensure(parent, "leaf", "/x", SHARED, check_mode=False)
    assert (tmp_path / "leaf").stat().st_uid == 0
    descriptor, before, after = ensure(parent, "leaf", "/x", SHARED, check_mode=False)
    assert (before, after) == ("", "7:8 2770") and (tmp_path / "leaf").stat().st_uid == 7
    for opened in (parent, descriptor):
        assert opened is not None
        os.close(opened)


class FakeEngine:
    """In place of an engine, which tests/integration has. It lists volumes, and nothing may change them."""

    volumes: ClassVar[list[dict[str, Any]]] = []

    def __init__(self, socket: str) -> None:
        del socket

    def call(self, method: str, path: str, **more: Any) -> Any:
        assert (method, path, more) == ("GET", "/volumes", {})
        return {"Volumes": self.volumes}


def volume(name: str, driver: str = "local", **labels: str) -> dict[str, Any]:
    given = {f"carrel.{key}": value for key, value in labels.items()}
    return {"Name": name, "Driver": driver, "Options": None, "Labels": given or None, "Mountpoint": "/nowhere/_data"}


EARLIER = [
    volume("class101_ada_home", instance="class101", user="ada"),
    volume("class101_eve_home.archived-20250101T000000Z", instance="class101", user="eve", archived="20250101T000000Z"),
    volume("class101_bob_lab"),
    volume("another-name", instance="class101", user="ada", archived="20250101T000000Z"),
]


def named(monkeypatch: pytest.MonkeyPatch, hub: Path | None, volumes: list[dict[str, Any]]) -> NamedVolumes:
    monkeypatch.setattr(named_volumes, "EngineAPI", FakeEngine)
    monkeypatch.setattr(FakeEngine, "volumes", volumes)
    users = [{"name": "zoe", "identity": "zoe@uni", "state": "held"}]
    given = {"socket": "", "prefix": "class101", "hub_directory": hub and str(hub), "users": users, "prune": "keep"}
    return NamedVolumes({**given, "directories": [], "control_time": None}, True, 0, 0, 0)


@pytest.mark.parametrize("number", range(len(EARLIER)))
def test_a_new_hub_leaves_volumes_of_an_earlier_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    (tmp_path / "hub").mkdir()
    with pytest.raises(EarlierHubError, match=f"{EARLIER[number]['Name']}.*{tmp_path}.*docker volume rm") as caught:
        named(monkeypatch, tmp_path, [EARLIER[number]]).run()
    assert isinstance(caught.value, NamedVolumes.reported)


def test_a_message_shows_ten_volumes_of_an_earlier_hub() -> None:
    names = [f"class101_u{number:02}_home" for number in range(12)]
    assert "class101_u09_home and 2 more. They" in volumes.earlier("class101", "/srv/class101", names)
    assert "class101_u09_home. They" in volumes.earlier("class101", "/srv/class101", names[:10])


@pytest.mark.parametrize("record", ["identities.json", "roster.json"])
def test_a_hub_that_is_back_has_its_volumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record: str) -> None:
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / record).write_text('{"version": 1, "users": {}}')
    work = named(monkeypatch, tmp_path, EARLIER)
    work.run()
    assert work.not_listed == ["ada", "bob"]


def test_volumes_of_others_do_not_make_a_hub_an_earlier_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hub").mkdir()
    others = [
        volume("class101_ada_home", instance="class102", user="ada"),
        volume("class101_ada_home", driver="nfs"),
        volume("class101-2_ada_home", instance="class101-2", user="ada"),
        volume("data"),
    ]
    named(monkeypatch, tmp_path, others).run()


def test_without_the_hub_s_directory_nothing_is_known_of_earlier_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    named(monkeypatch, None, EARLIER).run()


@pytest.mark.parametrize("check_mode", [True, False])
def test_archives_are_read_once_however_many_users_are_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, check_mode: bool
) -> None:
    """A change of semester: thousands leave, thousands come, and some come back."""
    (tmp_path / ".archive").mkdir(mode=0o700)
    for name in ("ada-20300101T000000Z", "ada-20300102T000000Z", "eve-20300101T000000Z"):
        (tmp_path / ".archive" / name).mkdir()
    users = [{"name": name, "state": "present"} for name in ("ada", "eve", *(f"new{number}" for number in range(50)))]
    parameters = {
        "path": str(tmp_path), "users": users, "purge": False, "directories": [{"name": "home", "mode": "0700"}],
        "identities_file": None, "control_time": None, "delete_after_days": None, "keep": {},
    }  # fmt: skip
    backend = user_directories.UserDirectories(parameters, check_mode, os.getuid(), os.getgid())
    read: list[str] = []
    names = backend._archived
    monkeypatch.setattr(backend, "_archived", lambda: [*names(), *(read.append("x") or ())])
    monkeypatch.setattr(backend, "since", lambda _user: 0)
    monkeypatch.setattr(backend, "_ensure", lambda *_given: None)
    monkeypatch.setattr(backend, "_limit", lambda *_given: None)
    backend.base = os.open(tmp_path, os.O_RDONLY)
    for user in users:
        backend.make(user["name"], user["name"])
    os.close(backend.base)
    assert read == ["x"]
    assert backend.after == ["ada", "eve"]
    left = (
        {"ada-20300101T000000Z"}
        if not check_mode
        else {"ada-20300101T000000Z", "ada-20300102T000000Z", "eve-20300101T000000Z"}
    )
    assert set(os.listdir(tmp_path / ".archive")) == left


@pytest.mark.parametrize("mode", [0o711, 0o700])
def test_a_directory_of_root_s_that_a_killed_run_began_is_finished(tmp_path: Path, mode: int) -> None:
    """Otherwise nobody could pass it, and no run would say so."""
    wanted = Wanted(0, os.getgid(), mode)
    if os.getuid() != 0:
        pytest.skip("root's own directories need root")
    parent = os.open(tmp_path, os.O_RDONLY)
    try:
        (tmp_path / "groups").mkdir(mode=0o700)
        for before in ("" if mode == 0o711 else f"{wanted}", f"{wanted}"):
            descriptor, found, after = ensure(parent, "groups", "/x/groups", wanted, False)
            assert descriptor is not None and (found, after) == (before, str(wanted))
            assert os.fstat(descriptor).st_mode & 0o777 == mode
            os.close(descriptor)
        (tmp_path / "groups/x").touch()
        (tmp_path / "groups").chmod(0o700)
        descriptor, found, after = ensure(parent, "groups", "/x/groups", wanted, False)
        assert descriptor is not None and found == after, "an administrator's choice stays"
        os.close(descriptor)
    finally:
        os.close(parent)
