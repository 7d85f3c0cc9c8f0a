# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a backup is complete, and what counts as missing.

A stand-in answers for restic; the real one is in tests/integration/test_backup.py.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from carrel_backup import __main__ as program
from carrel_backup import backup, database, restic
from carrel_backup.restic import Answer, ResticError
from carrel_backup.run import DONE, INCOMPLETE, BackupError, Run
from carrel_backup.state import State
from test_backup_shadow import Engine, engine_of

ADA, GRACE, COURSE = "data/users/ada/home", "data/users/grace/home", "data/groups/course"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    monkeypatch.setattr(backup, "check_past", lambda *_given: None)
    monkeypatch.setattr(backup, "write_manifest", lambda *_given: None)
    monkeypatch.setattr(backup, "forget", lambda *_given: None)
    (tmp_path / "instance.json").write_text("{}")
    return engine_of("hub", tmp_path)


def night(
    hub: Engine, monkeypatch: pytest.MonkeyPatch, leaves: Sequence[str], *unread: str, accept: bool = False
) -> list[str]:
    """The warnings of a backup in which restic cannot read the UNREAD."""
    answer = Answer(
        restic.INCOMPLETE if unread else 0, {"snapshot_id": "abc"}, [(path, "permission denied") for path in unread], []
    )
    monkeypatch.setattr(Run, "leaves", lambda _self: list(leaves))
    monkeypatch.setattr(backup, "snapshot", lambda *_given: answer)
    hub.state = State(hub.state.path, "tao")
    hub.state.begin("backup", "all")
    code = backup.backup(hub, accept=accept)
    warnings: list[str] = hub.state.entry["warnings"]
    assert code == (INCOMPLETE if warnings else DONE)
    return warnings


def test_only_a_complete_backup_is_a_good_one(hub: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    assert night(hub, monkeypatch, [ADA]) == []
    good = hub.state.entry["good"]
    assert night(hub, monkeypatch, [ADA], f"{ADA}/x") == [f"{ADA}/x could not be read: permission denied"]
    assert hub.state.entry["good"] == good and hub.state.entry["taken"]["snapshot"] == "abc"


def test_what_is_gone_is_named_until_it_is_back_archived_or_accepted(
    hub: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    said = {leaf: f"{leaf} was in an earlier backup and is not there any more" for leaf in (ADA, GRACE, COURSE)}
    advice = "if these are gone for good, accept that: carrel-backup run tao --accept-missing"
    night(hub, monkeypatch, [ADA, GRACE, COURSE, "proxy.env", "data/database"])
    for _unused in range(2):
        assert night(hub, monkeypatch, [ADA]) == [said[COURSE], said[GRACE], advice], "the site playbook has the others"
    assert night(hub, monkeypatch, [ADA, COURSE]) == [said[GRACE], advice]
    archive = tmp_path / "data/users/.archive"
    (archive / "grace-20300101T000000Z-2").mkdir(parents=True)
    (archive / "ada-20290101T000000Z").mkdir()
    (tmp_path / "data/users/ada").mkdir()
    assert night(hub, monkeypatch, [ADA, COURSE]) == []
    assert night(hub, monkeypatch, [COURSE]) == [said[ADA], advice], "the directory in the archive is an older one"
    assert night(hub, monkeypatch, [COURSE], accept=True) == []
    assert night(hub, monkeypatch, [COURSE]) == []


def test_a_lost_repository_is_not_made_anew_after_incomplete_backups(
    hub: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = backup.snapshot
    night(hub, monkeypatch, [ADA], f"{ADA}/x")
    assert not hub.state.entry["good"]
    asked: list[str] = []

    def call(command: str, *_arguments: str, **_more: Any) -> Answer:
        asked.append(command)
        if command == "backup" and "init" not in asked:
            raise ResticError("there is no repository", restic.NO_REPOSITORY)
        return Answer(0, {}, [], [])

    monkeypatch.setattr(hub.restic, "call", call)
    hub.state.begin("backup", "all")
    with pytest.raises(BackupError, match=r"though there was one.* For a new one: carrel-backup run tao --anew$"):
        snapshot(hub, [], [], None)
    assert "init" not in asked
    assert snapshot(hub, [], [], None, True).code == 0 and asked[-2:] == ["init", "backup"]


def test_the_state_of_an_earlier_version_still_says_that_there_was_a_repository(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    path.write_text(json.dumps({"version": 1, "backup": {"result": "done", "good": {"snapshot": "abc"}}}))
    state = State(str(path), "tao")
    state.begin("backup", "all")
    assert state.entry["taken"] == state.entry["good"] == {"snapshot": "abc"}


@pytest.mark.parametrize(("state", "complete"), [("held", True), ("present", False)])
def test_a_held_hub_needs_no_dump(hub: Engine, monkeypatch: pytest.MonkeyPatch, state: str, complete: bool) -> None:
    os.mkdir(hub.stage)
    monkeypatch.setattr(Run, "database_container", lambda _self: None)
    assert database.dump(hub, {"database": "postgresql", "state": state}) is None
    assert (hub.state.entry["warnings"] == []) is complete


@pytest.mark.parametrize("more", [["restore"], ["run", "--user=ada"]])
def test_what_is_missing_is_accepted_for_a_whole_instance(more: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    command, *options = more
    with pytest.raises(SystemExit):
        program.arguments([command, "tao", "--accept-missing", *options])
    assert "--accept-missing is for the backup of a whole instance" in capsys.readouterr().err
