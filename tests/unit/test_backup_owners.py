# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose the names of a hub's users are, in restores and moves: nobody gets the files or backups of somebody else.

A stand-in puts the files where restic would; the real one is in tests/integration/test_backup_restore.py.
"""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.carrel.jupyter.plugins.module_utils._people import name_owners as site
from backup_helpers import STOP
from carrel_backup import (
    asked,
    containers,
    database,
    inside,
    manifest,
    name_owners,
    owners,
    receiving,
    restore,
    targets,
)
from carrel_backup.name_owners import Owner
from carrel_backup.run import BackupError
from carrel_backup.transfer import Move
from carrel_backup.wanted import Wanted
from carrel_hub import files as hub_files
from carrel_hub import owners as hub_owners
from carrel_hub.people import Roster
from carrel_hub.roster import changes
from test_backup_shadow import Engine, engine_of

NAME = "ann--uni"
HOME, ADA = "data/users/ann-2d-2duni/home", "data/users/ada/home"
THEN, SINCE, LATER = "2029-01-01T02:30:00Z", 1890000000, "2029-12-31T02:30:00Z"
SCHMIDT, MUELLER = "anna.schmidt@uni", "anna.mueller@uni"
OLD, NEW = Owner(SCHMIDT, 0), Owner(MUELLER, SINCE)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """In 2030, long after the name was given to somebody else."""
    monkeypatch.setattr(time, "time", lambda: 1893456000.0)
    monkeypatch.setattr(restore, "check_room", lambda *_given, **_more: None)
    for folder in ("hub", HOME, ADA, "run"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "hub/secrets.json").write_text('{"cookie_secret": "now"}')
    return engine_of("hub", tmp_path)


def record(hub: Engine, owner: Owner | None) -> None:
    path = Path(hub.settings.directory, owners.RECORD)
    path.write_text(name_owners.text({NAME: owner, "ada": Owner("ada", 0)} if owner else {}))


def owner_now(hub: Engine) -> Owner:
    return owners.recorded(hub.settings)[NAME]


def fetched(monkeypatch: pytest.MonkeyPatch, owner: Owner | str | None) -> Callable[..., None]:
    """The snapshot's homes, and its record."""

    def fetch(_run: object, _snapshot: str, paths: Sequence[str], tree: str, *_options: str, **_more: Any) -> None:
        for path in paths:
            if path.startswith("instance/data/"):
                Path(tree, path).mkdir(parents=True)
                Path(tree, path, "then").touch()
        Path(tree, "instance/hub").mkdir(parents=True, exist_ok=True)
        if owner is not None and f"instance/{owners.RECORD}" in paths:
            text = owner if isinstance(owner, str) else name_owners.text({NAME: owner})
            Path(tree, "instance", owners.RECORD).write_text(text)

    monkeypatch.setattr(restore, "fetch", fetch)
    return fetch


def whole(hub: Engine, moment: str, wanted: Wanted = STOP) -> list[str]:
    """Restore; the warnings."""
    found = manifest.Manifest(["hub", HOME, ADA], None, [])
    leaves = [HOME] if wanted.user else [ADA, HOME]
    restore.restore_leaves(hub, {"id": "abc", "time": moment}, wanted, found, leaves)
    said: list[str] = hub.state.entry["warnings"]
    return said


def files_in(hub: Engine, leaf: str) -> list[str]:
    return sorted(path.name for path in Path(hub.settings.directory, leaf).iterdir())


SAID = f"{HOME} in the snapshot is of somebody else who had the name before, so it was not restored"


def test_the_record_is_as_the_site_playbook_writes_and_reads_it() -> None:
    found = {NAME: NEW, "ada": Owner("ada", 0)}
    text = site.text({name: site.Owner(owner.identity, owner.since) for name, owner in found.items()})
    theirs = name_owners.parse(text)
    assert theirs == found
    assert name_owners.text(theirs) == text and site.text(site.parse(text)) == text


@pytest.mark.parametrize(
    ("now", "then", "moment", "begun", "other"),
    [
        (NEW, OLD, THEN, True, True),
        (NEW, None, THEN, True, True),
        (NEW, NEW, LATER, True, False),
        (NEW, None, LATER, True, False),
        (OLD, OLD, THEN, False, False),
        (Owner(SCHMIDT.upper(), 0), OLD, THEN, False, False),
        (Owner(MUELLER, 0), OLD, LATER, False, True),
        (Owner(MUELLER, 0), OLD, LATER, True, False),  # an administrator has said that both are one person
        (OLD, NEW, LATER, False, False),  # the move back
    ],
)
def test_whose_files_a_snapshot_has(now: Owner, then: Owner | None, moment: str, begun: bool, other: bool) -> None:
    seconds = restore.parsed(moment).timestamp()
    assert owners.others({NAME: now}, {NAME: then} if then else {}, seconds, begun) == ({NAME} if other else set())


def test_a_whole_hub_of_before_gives_nobody_the_home_of_somebody_else(
    hub: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.state.begin_past()
    record(hub, NEW)
    fetched(monkeypatch, OLD)
    warnings = whole(hub, THEN)
    assert warnings == [f"{SAID}: if both are one person, see docs/howto/leaving.md"]
    assert (files_in(hub, HOME), files_in(hub, ADA)) == ([], ["then"])
    assert owner_now(hub) == NEW
    record(hub, Owner(MUELLER, 0))
    whole(hub, THEN)
    assert files_in(hub, HOME) == ["then"], "the way back of the docs"


@pytest.mark.parametrize("guests", [False, True])
def test_who_had_the_name_before_does_not_come_back_with_the_hub_s_database(
    hub: Engine, monkeypatch: pytest.MonkeyPatch, guests: bool
) -> None:
    """A snapshot from before 0.2.0: it does not say whose the users in the database are."""
    hub.state.begin_past()
    record(hub, NEW)
    homes = fetched(monkeypatch, None)

    def fetch(run: object, snapshot: str, paths: Sequence[str], tree: str, *options: str, **_more: Any) -> None:
        homes(run, snapshot, paths, tree, *options)
        Path(tree, "instance/data/hub", hub_owners.LISTED).write_text(json.dumps({"names": ["ada", NAME]}))

    monkeypatch.setattr(restore, "fetch", fetch)
    found = manifest.Manifest(["hub", "data/hub", HOME, ADA], None, [])
    restore.restore_leaves(hub, {"id": "abc", "time": THEN}, STOP, found, ["data/hub", ADA, HOME])
    monkeypatch.setattr(hub_files, "STATE", Path(hub.settings.directory, "data/hub"))
    known, before = hub_owners.known(), hub_files.read_state(hub_owners.LISTED)["names"]
    people = {name: {"identity": identity} for name, identity in ((NAME, MUELLER), ("ada", "ada"))}
    now = Roster(people, frozenset())
    assert hub_owners.others(now, known) == {NAME} and hub_owners.was_another(now, NAME)
    assert changes(now, [NAME, "ada"], before, guests, known) == ({NAME}, {NAME})
    del people[NAME]
    assert changes(now, [NAME, "ada"], before, guests, known) == (set(), {NAME})


@pytest.mark.parametrize(("dumped", "raw"), [(database.POSTGRESQL, []), (None, ["data/database"]), (None, [])])
def test_a_database_that_comes_back_without_the_hub_s_folder_brings_nobody_back(
    hub: Engine, monkeypatch: pytest.MonkeyPatch, dumped: str | None, raw: list[str]
) -> None:
    """The snapshot has PostgreSQL's dump, its files, or neither. The folder is that of now."""
    hub.state.begin_past()
    record(hub, NEW)
    fetched(monkeypatch, OLD)
    folder = Path(hub.settings.directory, "data/hub")
    folder.mkdir()
    people = {NAME: {"identity": MUELLER}, "ada": {"identity": "ada"}}
    (folder / hub_owners.LISTED).write_text(
        json.dumps({"names": [*people], "identities": {name: each["identity"] for name, each in people.items()}})
    )
    monkeypatch.setattr(hub_files, "STATE", folder)
    found = Roster(people, frozenset())
    seen: list[set[str]] = []
    monkeypatch.setattr(database, "server", lambda _run: "database")
    monkeypatch.setattr(restore, "load", lambda *_given: seen.append(hub_owners.others(found, hub_owners.known())))
    leaves = [*raw, ADA, HOME]
    snapshot = {"id": "abc", "time": THEN}
    restore.restore_leaves(hub, snapshot, STOP, manifest.Manifest(["hub", *leaves], dumped, []), leaves)
    assert hub_owners.others(found, hub_owners.known()) == ({NAME} if dumped or raw else set())
    assert seen == ([{NAME}] if dumped else []), "also if the restore is killed once the database is there"


@pytest.mark.parametrize("noted", [True, False])
def test_a_restore_that_fails_before_the_database_is_there_leaves_the_hub_its_people(
    hub: Engine, monkeypatch: pytest.MonkeyPatch, noted: bool
) -> None:
    hub.state.begin_past()
    record(hub, NEW)
    fetched(monkeypatch, OLD)
    path = Path(hub.settings.directory, "data/hub", hub_owners.LISTED)
    path.parent.mkdir()
    text = json.dumps({"names": [NAME], "identities": {NAME: MUELLER}, "stop": ["group-stat"]})
    if noted:
        path.write_text(text)

    def load(*_given: object) -> None:
        assert json.loads(path.read_text())["identities"] == {NAME: ""}
        raise containers.UntouchedError("the database does not answer")

    monkeypatch.setattr(database, "server", lambda _run: "database")
    monkeypatch.setattr(restore, "load", load)
    found = manifest.Manifest(["hub", ADA, HOME], database.POSTGRESQL, [])
    with pytest.raises(containers.UntouchedError, match="does not answer"):
        restore.restore_leaves(hub, {"id": "abc", "time": THEN}, STOP, found, [ADA, HOME])
    assert [each.name for each in path.parent.iterdir()] == ([path.name] if noted else [])
    assert not noted or path.read_text() == text


@pytest.mark.parametrize(
    ("dumped", "more", "leaf"),
    [
        (database.POSTGRESQL, [], ADA),
        (database.POSTGRESQL, ["data/hub"], ADA),
        (database.POSTGRESQL, ["data/hub"], "data/hub"),
        (None, ["data/database"], "data/database"),
        (None, ["data/database"], ADA),
        (None, ["data/database", "data/hub"], "data/database"),
        (None, ["data/database", "data/hub"], "data/hub"),
    ],
)
def test_a_restore_that_fails_in_the_middle_brings_nobody_back_and_takes_nobody_away(
    hub: Engine, monkeypatch: pytest.MonkeyPatch, dumped: str | None, more: list[str], leaf: str
) -> None:
    """PostgreSQL comes back as its dump or its files. LEAF is on a disk of its own, so it cannot be replaced."""
    hub.state.begin_past()
    record(hub, NEW)
    fetched(monkeypatch, OLD)
    folder = Path(hub.settings.directory, "data/hub")
    people = {NAME: {"identity": MUELLER}, "ada": {"identity": "ada"}}
    for one in (folder, folder.parent / "database"):
        one.mkdir()
    text = json.dumps({"names": [*people], "identities": {name: each["identity"] for name, each in people.items()}})
    (folder / hub_owners.LISTED).write_text(text)
    monkeypatch.setattr(hub_files, "STATE", folder)
    monkeypatch.setattr(database, "server", lambda _run: "database")
    monkeypatch.setattr(restore, "load", lambda *_given: None)
    exchange = targets.exchange

    def refuse(source: int, source_name: str, above: int, name: str) -> None:
        if os.path.realpath(f"/proc/self/fd/{above}/{name}") == f"{hub.settings.directory}/{leaf}":
            raise OSError(errno.EBUSY, "Device or resource busy")
        exchange(source, source_name, above, name)

    monkeypatch.setattr(targets, "exchange", refuse)
    with pytest.raises((OSError, BackupError), match="Device or resource busy"):
        found = manifest.Manifest(["hub", ADA, HOME, *more], dumped, [])
        restore.restore_leaves(hub, {"id": "abc", "time": THEN}, STOP, found, [*more, ADA, HOME])
    replaced = dumped is not None or files_in(hub, "data/database") == ["then"]
    assert hub_owners.others(Roster(people, frozenset()), hub_owners.known()) == ({NAME} if replaced else set())
    assert replaced or (folder / hub_owners.LISTED).read_text() == text


def disowned(folder: Path) -> dict[str, Any]:
    """What is noted by the program itself."""
    subprocess.run(
        [sys.executable, "-I", inside.__file__, "disown", str(folder)], input=json.dumps([NAME]), text=True, check=True
    )
    path = folder / hub_owners.LISTED
    assert path.stat().st_mode & 0o777 == 0o600 and not path.is_symlink()
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_what_else_a_hub_has_noted_stays(tmp_path: Path) -> None:
    noted = {"names": ["bob"], "identities": {"bob": "bob@uni", NAME: SCHMIDT, "left": "left@uni"}}
    (tmp_path / hub_owners.LISTED).write_text(json.dumps(noted))
    wanted = {"names": ["bob", NAME], "identities": {"bob": "bob@uni", NAME: "", "left": "left@uni"}}
    assert disowned(tmp_path) == wanted


@pytest.mark.parametrize("damaged", ["", "[]", "[" * 100_000, '{"names": 1}', '{"names": [], "identities": 1}'])
def test_what_the_account_has_put_there_stops_no_restore(tmp_path: Path, damaged: str) -> None:
    wanted = {"names": [NAME], "identities": {NAME: ""}}
    path = tmp_path / hub_owners.LISTED
    path.write_text(damaged)
    assert disowned(tmp_path) == wanted
    path.unlink()
    assert disowned(tmp_path) == wanted
    path.unlink()
    os.mkfifo(path)
    assert disowned(tmp_path) == wanted
    other = tmp_path / "other"
    other.write_text('{"names": ["of another file"]}')
    path.unlink()
    path.symlink_to(other)
    assert disowned(tmp_path) == wanted and other.read_text() == '{"names": ["of another file"]}'


def test_a_lost_host_learns_whose_the_backups_are(hub: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    record(hub, Owner(MUELLER, 0))
    fetched(monkeypatch, NEW)
    assert whole(hub, LATER) == [] and files_in(hub, HOME) == ["then"]
    assert owner_now(hub) == NEW and owners.recorded(hub.settings)["ada"] == Owner("ada", 0)
    status = Path(hub.settings.directory, owners.RECORD).stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (0, hub.account.gid, 0o640)
    assert seen(hub, LATER) == [LATER] and seen(hub, THEN) == []


def seen(hub: Engine, *times: str) -> list[str]:
    """Which of the old host's snapshots the page Backups has, once the hub was moved or restored."""
    hub.state.go_on("geo1", None)
    paths = [f"/run/carrel/backup/tao/view/instance/{HOME}"]
    found = [{"id": each, "time": each, "of": "whole", "on": "geo1", "series": None, "paths": paths} for each in times]
    wanted = asked.Asked("snapshots", NAME, "", (), 0)
    return [each["time"] for each in asked.of_user(found, wanted, "geo2", hub.state, owner_now(hub).since)]


def test_a_lost_host_has_somebody_else_before_any_backup_knows_it(hub: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    record(hub, Owner(MUELLER, 0))
    fetched(monkeypatch, OLD)
    (warning,) = whole(hub, LATER)
    assert warning.startswith(SAID) and files_in(hub, HOME) == []
    assert owner_now(hub) == Owner(MUELLER, 1893456000) and seen(hub, THEN, LATER) == []


def test_parts_of_before_are_refused_as_well(hub: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.state.begin_past()
    record(hub, NEW)
    fetched(monkeypatch, OLD)
    with pytest.raises(BackupError, match="has nothing of"):
        whole(hub, THEN, Wanted(user=NAME, overwrite=True, stop=True))
    assert hub.state.entry["warnings"][0].startswith(SAID)
    found = manifest.Manifest([HOME], None, [])
    for path in (Wanted(user=NAME, path="x", beside=True), Wanted(path=f"{HOME}/x")):
        with pytest.raises(BackupError) as caught:
            restore.restore_path(hub, {"id": "abc", "time": THEN}, path, found)
        assert str(caught.value) == (
            f"{HOME}/x in the snapshot abc is of somebody else who had the name before: if both are one person, see"
            " docs/howto/leaving.md"
        )
    assert files_in(hub, HOME) == []


@pytest.mark.parametrize(
    "user",
    [
        {"identity": "\ud800", "since": 0},
        {"identity": "\x1b[2J", "since": 0},
        {"identity": "x" * 1001, "since": 0},
        {"identity": MUELLER, "since": 1893456001},
    ],
)
def test_what_the_account_put_into_a_record_is_not_taken(
    hub: Engine, monkeypatch: pytest.MonkeyPatch, user: dict[str, Any]
) -> None:
    record(hub, None)
    users = {NAME: user, "../x": {"identity": "x", "since": 0}, "bob": {"identity": "bob", "since": 5}}
    fetched(monkeypatch, json.dumps({"version": 1, "users": users}))
    assert whole(hub, LATER) == []
    assert owners.recorded(hub.settings) == {"bob": Owner("bob", 5)}


@pytest.mark.parametrize(
    "damaged", ["", "[]", '{"users": {"x": 1}}', '{"users": {"x": {"identity": 1, "since": 1e999}}}']
)
def test_a_damaged_record_is_named(hub: Engine, monkeypatch: pytest.MonkeyPatch, damaged: str) -> None:
    record(hub, NEW)
    fetched(monkeypatch, damaged)
    (warning,) = whole(hub, LATER)
    path = f"{hub.settings.directory}/{owners.RECORD}"
    assert warning.startswith(
        f"{path} was not restored, so people may see backups of others who had their names before:"
    )
    assert owner_now(hub) == NEW


def test_nothing_is_restored_while_nobody_knows_whose_the_names_are(
    hub: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path(hub.settings.directory, owners.RECORD)
    path.write_text("[")
    fetched(monkeypatch, OLD)
    with pytest.raises(BackupError) as caught:
        whole(hub, LATER)
    assert str(caught.value) == f"{path} is damaged: bring it back from a backup, or remove it"
    assert files_in(hub, ADA) == [] and not Path(hub.settings.directory, restore.BESIDE).exists()


def test_a_move_takes_along_whose_the_names_are(hub: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = manifest.Manifest(["hub", HOME, ADA], None, [])
    monkeypatch.setattr(restore, "manifest_of", lambda *_given: found)
    monkeypatch.setattr(receiving, "listed", lambda _run: [])
    monkeypatch.setattr(receiving, "as_account", lambda *_given, **_more: "")
    (tmp_path / "hub/secrets.json").unlink()
    (tmp_path / "hub").rmdir()
    (tmp_path / "pack").touch()
    given = {"pack": str(tmp_path / "pack"), "more": False, "snapshot": "abc", "place": False}

    def receive(owner: Owner) -> list[str]:
        fetched(monkeypatch, owner)
        move = Move(hub, given)
        receiving.receive(move)
        hub.inside("empty", move.tree)
        received: list[str] = receiving.last_received(move)["leaves"]
        return received

    assert receive(NEW) == [HOME, ADA]
    assert owners.recorded(hub.settings) == {NAME: NEW} and seen(hub, THEN, LATER) == [LATER]
    assert receive(OLD) == [ADA], "the new host's inventory is a newer one"
    assert owner_now(hub) == Owner(MUELLER, 1893456000)
