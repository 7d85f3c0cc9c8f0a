# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The first Sunday's drill of an instance that has no backup yet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from backup_helpers import AFTER, Engine, Repository, at_work, taken
from carrel_backup import __main__ as program
from carrel_backup import drill
from carrel_backup.restic import NO_REPOSITORY, WRONG_PASSWORD, ResticError
from carrel_backup.run import BackupError, Run
from carrel_backup.state import State


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """Its settings name a REST server, which is not there."""
    monkeypatch.setattr(Run, "check_server", lambda run: None)
    with at_work(tmp_path) as found:
        found.state = State(str(tmp_path / "new.json"), "tao")
        yield found


def fails(code: int) -> None:
    raise ResticError("restic said so", code)


def test_there_is_nothing_to_try_before_the_first_backup(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    engine.restic = Repository(engine)
    assert drill.is_early(engine)
    monkeypatch.setattr(engine.restic, "snapshots", lambda: fails(NO_REPOSITORY))
    assert drill.is_early(engine), "the first backup makes the repository"
    assert not Path(engine.state.path).exists(), "nothing is recorded"
    assert not Path(engine.restic.password_file).exists()


def test_everything_else_is_for_the_drill_to_tell(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    engine.restic = Repository(engine, {"id": "abc", **taken(AFTER, "geo1")})
    assert not drill.is_early(engine), "snapshots, perhaps of a removed instance"
    engine.restic = Repository(engine)
    monkeypatch.setattr(engine.restic, "snapshots", lambda: fails(WRONG_PASSWORD))
    assert not drill.is_early(engine)

    def away(run: Run) -> None:
        raise BackupError("the repository's server cannot be reached")

    monkeypatch.setattr(Run, "check_server", away)
    assert not drill.is_early(engine)
    monkeypatch.setattr(Run, "check_server", lambda run: None)
    engine.restic = Repository(engine)
    engine.state.begin("backup", "all")
    engine.state.finish("failed", "the disk is full", 1)
    assert not drill.is_early(engine), "a backup was tried"
    engine.state.content["backup"] = None
    engine.state.begin_past()
    assert not drill.is_early(engine)


@pytest.mark.parametrize(("more", "acts"), [([], False), (["--user", "ada"], True), (["--snapshot", "abcdef"], True)])
def test_the_program_ends_well_and_records_nothing(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, more: list[str], acts: bool
) -> None:
    acted: list[str] = []
    monkeypatch.setattr(program, "load", lambda name: engine.settings)
    monkeypatch.setattr(program.os, "geteuid", lambda: 0)
    monkeypatch.setattr(program.commands, "account_of", lambda settings: engine.account)
    monkeypatch.setattr(
        program, "Restic", lambda *given: Repository(SimpleNamespace(settings=given[0], account=given[1]))
    )
    monkeypatch.setattr(program, "act", lambda run, what, options: acted.append(what) or 1)
    assert program.main(["drill", "tao", *more]) == int(acts)
    assert acted == ["drill"] * acts
    assert not Path(engine.settings.state_directory, "state.json").exists()
