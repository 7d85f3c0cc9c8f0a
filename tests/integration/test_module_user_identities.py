# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""user_volumes as root on real files: nobody gets the files of somebody else whose name is simplified alike."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import module_runner
import pytest
from ansible_collections.carrel.jupyter.plugins.module_utils._shared.escape import escape
from carrel_backup import asked, name_owners
from carrel_backup.state import State
from test_module_user_volumes import GID, UID, archived, facts

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="files of several owners need root")
NAME, NEW = "ann--uni", "new--uni"
FOLDER = escape(NAME)
SCHMIDT, MUELLER = "anna.schmidt@uni", "anna.mueller@uni"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "hub").mkdir()
    os.chown(tmp_path / "hub", 0, 4321)
    yield tmp_path


def parameters(hub: Path, identities: dict[str, str], **more: Any) -> dict[str, Any]:
    users = [{"name": name, "identity": identity} for name, identity in identities.items()]
    path = str(hub / "data" / "users")
    return {
        "path": path,
        "hub_directory": str(hub),
        "users": users,
        "uid": UID,
        "gid": GID,
        "allow_empty": True,
        **more,
    }


def four_runs(hub: Path, identities: dict[str, str], **more: Any) -> list[dict[str, Any]]:
    return module_runner.four_runs("user_volumes", parameters(hub, identities, **more))


def run(hub: Path, identities: dict[str, str], check: bool = False, **more: Any) -> dict[str, Any]:
    return module_runner.run("user_volumes", parameters(hub, identities, **more), check)


def warnings(answer: dict[str, Any]) -> list[str]:
    return [warning["event"]["msg"] for warning in answer["warnings"]]


def home(hub: Path) -> Path:
    return hub / "data" / "users" / FOLDER / "home"


def recorded(hub: Path) -> dict[str, str]:
    users = json.loads((hub / "hub" / "identities.json").read_text())["users"]
    return {name: user["identity"] for name, user in users.items()}


def test_somebody_else_with_the_same_name_begins_with_nothing(hub: Path) -> None:
    four_runs(hub, {NAME: SCHMIDT, "ada": "ada"})
    (home(hub) / "thesis").write_text("Schmidt's")
    assert not run(hub, {NAME: SCHMIDT.upper(), "ada": "ada"})["changed"], "it is the same person"
    answers = four_runs(hub, {NAME: MUELLER, "ada": "ada"})
    assert os.listdir(home(hub)) == [] and facts(home(hub))[0] == UID
    archive = Path(answers[1]["archived"][NAME])
    assert (archive / "home" / "thesis").read_text() == "Schmidt's" and facts(archive.parent)[2] == "drwx------"
    assert recorded(hub) == {NAME: MUELLER, "ada": "ada"}
    (warning,) = warnings(answers[0])
    assert warning == (
        f"{hub}/data/users: {NAME} was {SCHMIDT} and is {MUELLER} now, so the files of {SCHMIDT} go to"
        " the archive: if both are one person, docs/howto/leaving.md says how to give them back"
    )
    assert facts(hub / "hub" / "identities.json") == (0, 4321, "-rw-r-----")


@pytest.mark.parametrize("prune", ["keep", "archive"])
def test_who_left_and_comes_back_finds_the_files_but_nobody_else_does(hub: Path, prune: str) -> None:
    run(hub, {NAME: SCHMIDT})
    (home(hub) / "thesis").write_text("Schmidt's")
    run(hub, {}, prune=prune)
    run(hub, {NAME: SCHMIDT}, prune=prune)
    assert (home(hub) / "thesis").read_text() == "Schmidt's"
    run(hub, {}, prune=prune)
    four_runs(hub, {NAME: MUELLER}, prune=prune)
    assert os.listdir(home(hub)) == []
    (home(hub) / "notes").write_text("Mueller's")
    run(hub, {NAME: MUELLER}, prune=prune)
    assert os.listdir(home(hub)) == ["notes"]


def test_a_killed_run_gives_nothing_away(hub: Path) -> None:
    run(hub, {NAME: SCHMIDT})
    (home(hub) / "thesis").write_text("Schmidt's")
    # As if it had been killed after the archive, and after the record.
    folder = hub / "data" / "users"
    (folder / ".archive").mkdir(mode=0o700)
    (folder / FOLDER).rename(folder / ".archive" / f"{FOLDER}-20300101T000000Z")
    record = json.dumps({"version": 1, "users": {NAME: {"identity": MUELLER, "since": 1893456000}}})
    for text in ((hub / "hub" / "identities.json").read_text(), record):
        (hub / "hub" / "identities.json").write_text(text)
        run(hub, {NAME: MUELLER}, control_time="2030-01-01T00:00:00Z")
        assert os.listdir(home(hub)) == []
        (folder / FOLDER / "settings").rmdir()
        home(hub).rmdir()
        (folder / FOLDER).rmdir()


def test_what_the_account_wrote_reaches_no_terminal(hub: Path) -> None:
    (hub / "data" / "hub").mkdir(parents=True)
    known = {NAME: {"identity": "\x1b]0;owned\x07 evil\x1b[2J"}, NEW: {"identity": "\ud800"}, "eve--uni": SCHMIDT}
    (hub / "data" / "hub" / "identities.json").write_text(json.dumps(known))
    answer = run(hub, {NAME: MUELLER, NEW: "new@uni", "eve--uni": "eve@uni"})
    assert [warning.split(": ", 1)[1] for warning in warnings(answer)] == [
        f"eve--uni was {SCHMIDT} and is eve@uni now, so the files of {SCHMIDT} go to the archive: if both are one"
        " person, docs/howto/leaving.md says how to give them back"
    ]
    assert "evil" not in json.dumps(answer) and recorded(hub)[NAME] == MUELLER


def test_what_cannot_be_archived_is_given_to_nobody(hub: Path) -> None:
    run(hub, {NAME: SCHMIDT, "ada": "ada"})
    os.chown(hub / "data" / "users" / FOLDER, 1234, GID)
    answer = run(hub, {NAME: MUELLER, "ada": "ada", "bob": "bob"})
    assert answer["failed"] and "belongs to 1234" in answer["msg"]
    assert recorded(hub) == {NAME: SCHMIDT, "ada": "ada", "bob": "bob"}
    assert (hub / "data" / "users" / "bob" / "home").is_dir()
    (hub / "hub" / "identities.json").write_text("[")
    assert "identities.json is damaged, or is not of version 1" in run(hub, {NAME: MUELLER})["msg"]


@pytest.mark.parametrize("known", [True, False])
def test_the_server_of_a_group_does_not_get_the_home_of_a_person_with_its_name(hub: Path, known: bool) -> None:
    """A guest of the native authenticator is in no record. hub_access may have put the group into the roster before."""
    server, group = "group-stat", {"ada": "ada", "group-stat": "group:stat"}
    run(hub, {"ada": "ada"})
    base = hub / "data" / "users"
    guest = base / escape(server)
    (guest / "home").mkdir(parents=True)
    (guest / "home" / "thesis").write_text("a guest's")
    if known:
        (hub / "hub" / "roster.json").write_text(json.dumps({"users": {server: {"identity": "group:stat"}}}))
    os.chown(guest, 1234, GID)
    assert run(hub, group)["failed"], "what cannot be archived is given to nobody"
    assert os.listdir(guest / "home") == ["thesis"] and recorded(hub)[server] == ""
    os.chown(guest, 0, GID)
    answers = four_runs(hub, group)
    assert os.listdir(guest / "home") == []
    archive = Path(answers[1]["archived"][server])
    assert (archive / "home" / "thesis").read_text() == "a guest's"
    assert "was somebody unknown and is group:stat now" in warnings(answers[0])[0]
    (guest / "home" / "notes").write_text("the group's")
    assert not run(hub, group)["changed"]


def test_a_host_without_a_record_goes_on_as_it_was(hub: Path) -> None:
    """From before there was a record: the roster is Schmidt's, and nobody knows whose an archive is."""
    base = hub / "data" / "users"
    run(hub, {NAME: SCHMIDT, "ada": "ada"})
    (home(hub) / "thesis").write_text("Schmidt's")
    (hub / "hub" / "identities.json").unlink()
    archived(base, escape(NEW), "20260101T000000Z", "of whom?")
    archived(base, "eve", "20260101T000000Z", "Eve's")
    roster = {"version": 1, "users": {NAME: {"identity": SCHMIDT}, "ada": {"identity": "ada"}}}
    (hub / "hub" / "roster.json").write_text(json.dumps(roster))
    people = {NAME: SCHMIDT, "ada": "ada", "eve": "eve", NEW: "new@uni"}
    answer = run(hub, people)
    assert (home(hub) / "thesis").exists() and (base / "eve/home/file").read_text() == "Eve's"
    assert os.listdir(base / escape(NEW) / "home") == []
    assert warnings(answer) == [
        f"{base}: the archive of new--uni stays there, because it may be of somebody else: if it is of new@uni,"
        " docs/howto/leaving.md says how to give it back"
    ]
    assert not run(hub, people)["changed"]
    # The hub has the new person's name already, because hub_access came first.
    roster["users"]["late--uni"] = {"identity": "late@uni"}
    (hub / "hub" / "roster.json").write_text(json.dumps(roster))
    archived(base, escape("late--uni"), "20260101T000000Z", "of whom?")
    assert len(warnings(run(hub, {**people, "late--uni": "late@uni"}))) == 1
    assert os.listdir(base / escape("late--uni") / "home") == []
    run(hub, {**people, NAME: MUELLER})
    assert os.listdir(home(hub)) == []


def test_who_is_held_when_the_record_begins_is_remembered(hub: Path) -> None:
    """The roster of a host from before there was a record has nobody who is held."""
    run(hub, {NAME: SCHMIDT})
    (home(hub) / "thesis").write_text("Schmidt's")
    (hub / "hub" / "identities.json").unlink()
    (hub / "hub" / "roster.json").write_text(json.dumps({"version": 1, "users": {}}))
    held: dict[str, Any] = {"users": [{"name": NAME, "identity": SCHMIDT, "state": "held"}], "prune": "archive"}
    four_runs(hub, {}, **held)
    assert (home(hub) / "thesis").exists() and recorded(hub) == {NAME: SCHMIDT}
    run(hub, {NAME: SCHMIDT})
    assert (home(hub) / "thesis").exists()
    answers = four_runs(hub, {NAME: MUELLER})
    assert os.listdir(home(hub)) == [] and recorded(hub) == {NAME: MUELLER}
    assert (Path(answers[1]["archived"][NAME]) / "home" / "thesis").read_text() == "Schmidt's"
    # It counts who is listed, held or not.
    answers = four_runs(hub, {}, **held)
    assert NAME in answers[1]["archived"] and not home(hub).exists() and recorded(hub) == {NAME: SCHMIDT}


def test_what_somebody_else_left_is_deleted_in_time(hub: Path) -> None:
    """The time begins with the decision that it is somebody else's, so that an administrator can still object."""
    run(hub, {NAME: SCHMIDT})
    archived(hub / "data" / "users", FOLDER, "20260101T000000Z", "long ago")
    options = {"prune": "archive", "delete_after_days": 10}
    assert not run(hub, {NAME: SCHMIDT}, **options)["deleted"], "it is of a listed user"
    assert not run(hub, {NAME: MUELLER}, **options)["deleted"]
    assert not run(hub, {NAME: MUELLER}, **options)["changed"]
    decided(hub, NAME, days=11)
    assert run(hub, {NAME: MUELLER}, **options)["deleted"] == [NAME]
    (left,) = os.listdir(hub / "data" / "users" / ".archive")
    assert left.startswith(f"{FOLDER}-") and "20260101" not in left


def test_an_old_archive_that_may_be_of_a_new_person_is_not_deleted_at_once(hub: Path) -> None:
    archive = archived(hub / "data" / "users", FOLDER, "20260101T000000Z", "of whom?")
    options = {"prune": "archive", "delete_after_days": 10}
    answer = run(hub, {NAME: SCHMIDT}, **options)
    assert answer["deleted"] == [] and (archive / "home" / "file").exists()
    assert "stays there" in warnings(answer)[0]
    decided(hub, NAME, days=11)
    assert run(hub, {NAME: SCHMIDT}, **options)["deleted"] == [NAME]


def test_one_person_with_a_new_identity_gets_everything_back(hub: Path) -> None:
    """By the steps in docs/howto/leaving.md."""
    run(hub, {NAME: SCHMIDT})
    (home(hub) / "thesis").write_text("hers")
    run(hub, {NAME: MUELLER})
    assert backups(hub) == []
    folder = hub / "data" / "users"
    (folder / FOLDER).rename(hub / "aside")
    (archive,) = (folder / ".archive").iterdir()
    archive.rename(folder / FOLDER)
    path = hub / "hub" / "identities.json"
    record = json.loads(path.read_text())
    record["users"][NAME]["since"] = 0
    path.write_text(json.dumps(record))
    assert not run(hub, {NAME: MUELLER})["changed"]
    run(hub, {}, prune="archive")
    assert not home(hub).exists()
    run(hub, {NAME: MUELLER}, prune="archive", delete_after_days=1)
    assert (home(hub) / "thesis").read_text() == "hers" and len(backups(hub)) == 1


def backups(hub: Path) -> list[Any]:
    """What the page Backups has of snapshots of last year."""
    record = name_owners.parse((hub / "hub" / "identities.json").read_text())
    wanted = asked.Asked("snapshots", NAME, "", (), 0)
    state = State("", "hub")
    state.content["begun"] = "2025-01-01T00:00:00Z"
    snapshot = {
        "time": "2025-06-01T00:00:00Z",
        "of": "whole",
        "on": "geo1",
        "series": None,
        "paths": [f"/instance/{wanted.leaf}"],
    }
    return asked.of_user([snapshot], wanted, "geo1", state, record[NAME].since)


def decided(hub: Path, name: str, days: int) -> None:
    """As if the name had been given to somebody else this long ago."""
    path = hub / "hub" / "identities.json"
    record = json.loads(path.read_text())
    record["users"][name]["since"] = int(time.time()) - days * 86400
    path.write_text(json.dumps(record))
