# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Containers that use what is restored: they are stopped and started again, and resets are kept out."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

import pytest
from backup_helpers import (
    AFTER,
    STOP,
    Engine,
    fail,
    recorded,
    taken,
)
from carrel_backup import __main__ as program
from carrel_backup import claims, containers, manifest, restore
from carrel_backup.commands import CommandError
from carrel_backup.run import FAILED, Run
from carrel_backup.state import State
from locks import is_free


def test_who_began_meanwhile_is_stopped_too_and_only_the_instances_own_start_again(engine: Engine) -> None:
    engine.late = ["ada"]
    assert [each["ID"] for each in containers.stop(engine, [], True, may_stop=True)] == ["hub"]
    assert engine.said == ["stop hub", "stop ada"] and recorded(engine) == {"hub": "hub"}
    containers.start(engine)
    assert engine.said[2:] == ["start hub"] and recorded(engine) == {}


def test_who_began_meanwhile_is_not_stopped_unless_that_was_wanted(engine: Engine) -> None:
    with pytest.raises(containers.InUseError, match="hub uses the files to restore"):
        containers.stop(engine, [], True, may_stop=False)
    engine.late = ["hub", "hub", "hub"]
    with pytest.raises(containers.InUseError, match="started again"):
        containers.stop(engine, [], True, may_stop=True)


def test_a_restore_and_a_reset_are_not_at_work_at_once(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "FILE", f"{tmp_path}/claim-{{}}")
    monkeypatch.setattr(containers, "RESET_SECONDS", 1)
    monkeypatch.setattr(restore, "fetch", lambda *_arguments, **_more: None)
    monkeypatch.setattr(restore, "check_room", lambda *_arguments: None)

    def restored() -> str:
        try:
            restore.restore_leaves(
                engine, {**taken(AFTER, "geo1"), "id": "abc"}, STOP, manifest.Manifest([], None, []), []
            )
        except containers.InUseError as error:
            return str(error)
        return "restored"

    assert restored() == "restored"  # it never was reset
    (tmp_path / "reset").mkdir()
    with (tmp_path / "reset" / "lock").open("w") as lock:
        assert restored() == "restored"
        with containers.resets_kept_out(engine), pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        engine.said, engine.running = [], ["hub"]
        assert restored().startswith("a reset of the instance is at work: nothing was restored")
        assert engine.said == []
        # A reset that ends meanwhile is waited for.
        monkeypatch.setattr(containers, "RESET_SECONDS", 60)
        monkeypatch.setattr(time, "sleep", lambda _seconds: fcntl.flock(lock, fcntl.LOCK_UN))
        assert restored() == "restored" and engine.said == ["stop hub", "start hub"]
    (tmp_path / "claim-tao").write_bytes(claims.claim("a playbook", 30))
    monkeypatch.setattr(containers, "RESET_SECONDS", -1)
    assert restored().startswith("a playbook is changing the instance's containers: nothing was restored")


def test_a_first_reset_is_kept_out_too(engine: Engine, tmp_path: Path) -> None:
    lock = tmp_path / "reset" / "lock"
    lock.parent.mkdir()
    with containers.resets_kept_out(engine):
        assert lock.stat().st_uid == engine.account.uid
        assert not is_free(lock)
    assert is_free(lock)


def test_a_claim_after_the_lock_is_seen_and_gets_the_instance(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "lock"
    path.touch()
    held = []

    def claimant(_name: str) -> str:
        held.append(not is_free(path))
        return "a playbook"

    monkeypatch.setattr(claims, "claimant", claimant)
    with path.open("r+") as lock:
        assert containers.others(engine, lock.fileno()) == "a playbook is changing the instance's containers"
        assert held == [True], "who claims later finds the lock taken"
        assert is_free(path)


def test_a_container_that_is_gone_is_no_error(engine: Engine) -> None:
    engine.state.owe({"hub": "hub"})
    engine.broken = "start hub"
    engine.docker = lambda *_arguments, **_more: fail("No such container: hub")  # type: ignore[method-assign]
    containers.start(engine)
    assert recorded(engine) == {} and engine.state.entry["warnings"] == []


def test_a_failed_stop_and_a_killed_restore_leave_a_note_for_the_next_run(engine: Engine) -> None:
    engine.running, engine.broken = ["hub", "ada"], "stop ada"
    with pytest.raises(CommandError, match="stop ada"):
        containers.stop(engine, [], True, may_stop=True)
    engine.state = State(engine.state.path, "tao")
    engine.state.begin("backup", "all")
    engine.broken = "start hub"
    containers.start(engine)
    assert "does not start; the next run tries again" in engine.state.entry["warnings"][0]
    engine.broken = ""
    containers.start(engine)
    assert engine.said[-1] == "start hub" and recorded(engine) == {}


def test_a_full_disk_stops_nothing_and_starts_what_is_stopped(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    engine.running = ["hub", "proxy", "ada"]
    path, engine.state.path = engine.state.path, "/dev/full/state.json"
    with pytest.raises(containers.UntouchedError, match="cannot be written, so nothing was restored"):
        containers.stop(engine, [], True, may_stop=True)
    assert engine.said == []
    engine.state.path = path
    containers.stop(engine, [], True, may_stop=True)
    engine.state = State(path, "tao")  # after a kill, and the disk has filled up
    engine.state.path = "/dev/full/state.json"
    engine.said = []
    monkeypatch.setattr(Run, "prepare", lambda _self: fail("no space left on device"))
    assert program.act(engine, "restore", program.arguments(["restore", "tao"])) == FAILED
    assert engine.said == ["start hub", "start proxy"] and engine.state.owed == {}
    said = capsys.readouterr().err
    assert "failed: no space left on device" in said and "/dev/full/state.json could not be written" in said


def test_only_an_engine_that_is_not_there_has_no_containers(engine: Engine) -> None:
    engine.containers = lambda *_filters, **_more: fail("no answer")  # type: ignore[method-assign,assignment]
    with pytest.raises(CommandError, match="no answer"):
        containers.using(engine, [], True)
    os.unlink(engine.settings.socket)
    assert containers.using(engine, [], True) == []
