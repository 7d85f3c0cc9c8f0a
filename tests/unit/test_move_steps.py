# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the steps of a move write down and refuse, without an engine, and what Apache is told afterwards."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import io
import json
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from ansible_collections.carrel.jupyter.plugins.module_utils._site import move
from carrel_backup import backup, containers, moving, receiving, restore, sending, settings, transfer
from carrel_backup.commands import Account, CommandError
from carrel_backup.journal import Journal
from carrel_backup.restic import Restic
from carrel_backup.run import DONE, LOCKED, BackupError, Run
from carrel_backup.state import State
from carrel_backup.transfer import Move
from plan_helpers import good, host, lab

from testbed.patience import PATIENCE
from testbed.virtual_host import virtual_host

ROOT = Path(__file__).resolve().parents[2]
RANGE = {"start": 165536, "count": 65536}
ENGINES = {"tao": {"uid": 1001, "gid": 1001, "socket": "", "subuid": RANGE, "subgid": RANGE}}
LOGS_IN = 4321 if os.geteuid() == 0 else os.getuid()
FIRST = {"hold": False, "snapshot": True, "have": [], "owner": str(LOGS_IN)}
TARGET = {"address": "192.0.2.7", "port": 443, "tls": True, "server_name": "tao.example.org", "certificates": None}


class Engine(Run):
    """RUNNING: containers of the instance, by name. LATE: who begins once another one was stopped."""

    running: list[str]
    late: list[str]
    said: list[str]
    broken: str = ""

    def containers(self, *filters: str, running: bool = True) -> list[dict[str, str]]:
        label = "com.docker.compose.project=tao"
        return [{"ID": name, "Names": name, "Labels": label} for name in self.running if f"label={label}" in filters]

    def docker(self, *arguments: str, **_more: Any) -> str:
        command, *names = arguments
        self.said.append(" ".join(arguments))
        if self.broken in names:
            self.running.remove(self.broken)
            raise CommandError(f"docker {command}: No such container: {self.broken}")
        if command == "stop":
            self.running = [name for name in self.running if name not in names] + self.late[:1]
            self.late = self.late[1:]
        if command == "start":
            raise CommandError(f"docker start: {names[0]} cannot start")
        return ""


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    (job,) = good([lab()])["backup_jobs"]
    found = settings.of(
        {**move.settings(job, ENGINES, "geo1"), "password": "x", "directory": str(tmp_path / "srv"),
         "socket": str(tmp_path / "docker"), "state_directory": str(tmp_path / "move"),
         "repository": str(tmp_path / "repository"), "run_directory": str(tmp_path / "run")}
    )  # fmt: skip
    for name in ("move", "run"):
        (tmp_path / name).mkdir()
    (tmp_path / "instance.json").write_text(json.dumps({"engine": "tao", "port": 8801, "state": "present"}))
    account = Account("root", os.getuid(), os.getgid(), "/", frozenset(), ())
    run = Engine(found, account, Restic(found, account), Journal("tao"), State(str(tmp_path / "state.json"), "tao"), -1)
    run.running, run.late, run.said = ["tao"], [], []
    run.state.begin("backup", "send")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(found.socket)
        listener.listen()
        yield run


def test_no_reset_starts_what_was_stopped_on_the_new_host(engine: Engine) -> None:
    one = Move(engine, {"from": "lab1"})
    receiving.pause(one)
    assert engine.record()["state"] == "held" and engine.running == []
    received = Path(engine.settings.state_directory, "received.json")
    received.write_text(json.dumps({"leaves": [], "database": None, "series": "2030-01-01T02:30:00+00:00"}))
    receiving.settle(one)
    backups = transfer.backups_of(engine)
    assert (backups.past, backups.series) == (["lab1"], "2030-01-01T02:30:00+00:00")
    assert engine.record() == {"engine": "tao", "port": 8801, "state": "present", "moved_from": "lab1"}


def test_a_move_that_has_ended_can_be_run_again(engine: Engine) -> None:
    one = Move(engine, {"from": "lab1"})
    received = Path(engine.settings.state_directory, "received.json")
    received.write_text(json.dumps({"leaves": [], "database": None, "series": "2030-01-01T02:30:00+00:00"}))
    receiving.settle(one)
    before = transfer.backups_of(engine).content
    moving.finish(one)
    Path(engine.settings.state_directory).mkdir()  # each step makes it
    receiving.settle(one)
    assert transfer.backups_of(engine).content == before
    assert engine.record()["moved_from"] == "lab1"


def test_who_is_started_meanwhile_is_stopped_too(engine: Engine) -> None:
    engine.running, engine.late = ["tao", "gone"], ["ada"]
    engine.broken = "gone"
    transfer.stop(Move(engine, {}))
    assert engine.running == [] and set(engine.state.owed) == {"tao", "gone", "ada"}
    engine.running, engine.late = ["tao"], ["tao", "tao", "tao"]
    with pytest.raises(BackupError, match="tao was started again"):
        transfer.stop(Move(engine, {}))


def test_what_does_not_start_again_is_named(engine: Engine) -> None:
    transfer.stop(Move(engine, {}))
    assert sending.undo(Move(engine, {})) == {"moved": False, "down": ["tao"]}
    assert sending.undo(Move(engine, {})) == {"moved": False, "down": ["tao"]}, "it is tried again"


def test_nothing_is_given_away_once_requests_wait_no_more(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "probe", lambda _move: None)
    one = Move(engine, {"target": TARGET})
    with pytest.raises(BackupError, match="requests do not wait any more"):
        sending.commit(one)
    assert engine.running == ["tao"] and "moved_to" not in engine.record()
    Path(one.folder, "hold").touch()
    transfer.write_record(one, {**engine.record(), "moved_from": "lab1"})
    sending.commit(one)
    assert engine.running == [] and engine.record()["moved_to"] == TARGET["address"]
    assert "moved_from" not in engine.record(), "it is elsewhere now"


def test_a_playbook_that_waits_for_the_switch_does_not_start_the_old_copy(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its plan is from before."""
    monkeypatch.setattr(sending, "probe", lambda _move: None)
    monkeypatch.setattr("carrel_backup.claims.claimant", lambda _name: "a playbook")
    one = Move(engine, {"target": TARGET})
    Path(one.folder, "hold").touch()
    with pytest.raises(BackupError, match="a playbook is waiting to change its containers"):
        sending.commit(one)
    assert engine.running == ["tao"] and "moved_to" not in engine.record()
    assert not os.path.exists(f"{one.folder}/go")


def test_the_new_host_knows_where_its_instance_is_from_before_requests_come(engine: Engine) -> None:
    """Until then, the site playbook of a host whose inventory lacks it would take its address down."""
    one = Move(engine, {})
    state = Path(engine.settings.state_directory)
    (state / "move.json").write_text(json.dumps({"from": "lab1", "to": "lab2", "password": "x"}))
    (state / "received.json").write_text(json.dumps({"leaves": [], "database": None}))
    engine.running = []
    receiving.place(one)
    assert engine.record()["moved_from"] == "lab1"
    receiving.pause(one)
    assert "moved_from" not in engine.record() and engine.record()["state"] == "held", "the move was undone"


def test_whoever_came_before_the_locks_goes_before(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    claimed: list[str] = []
    monkeypatch.setattr(sending, "open_gate", lambda *_given: claimed.append("a playbook"))
    monkeypatch.setattr("carrel_backup.claims.claimant", lambda _name: claimed[0] if claimed else None)
    with pytest.raises(BackupError, match="a playbook is changing"):
        sending.hold(Move(engine, {}))
    assert engine.running == ["tao"]


def test_the_step_of_a_killed_run_goes_before(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("carrel_backup.commands.account_of", lambda _settings: engine.account)
    monkeypatch.setattr(moving, "STEPS", {"begin": lambda _move: {"password": "x"}})
    monkeypatch.setattr(Run, "prepare", lambda _self: None)

    def begin() -> int:
        given = {"settings": dataclasses.asdict(engine.settings)}
        monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(given)))
        return moving.main("begin")

    with open(f"{engine.settings.state_directory}/lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        monkeypatch.setattr(moving, "LOCK_SECONDS", 0)
        assert begin() == LOCKED
        assert "run the playbook again once it has ended" in capsys.readouterr().err
        monkeypatch.setattr(moving, "LOCK_SECONDS", PATIENCE)
        ending = threading.Timer(1, fcntl.flock, [lock, fcntl.LOCK_UN])
        ending.start()
        assert begin() == DONE, "one that ends soon is waited for"
        ending.join()


@pytest.fixture
def repository(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Path:
    """That of the move, in which a backup adds a file and a snapshot."""

    def took(run: Run, brief: bool) -> int:
        run.state.finish("done", "", DONE, snapshot="b" * 64)
        return DONE

    monkeypatch.setattr(backup, "backup", took)
    monkeypatch.setattr(Account, "itself", lambda _self: [])
    found = Path(engine.settings.repository)
    (found / "data").mkdir(parents=True)
    (found / "data" / "one").write_bytes(b"x" * 5000)
    return found


def test_the_snapshot_that_was_taken_is_the_one_that_is_placed(engine: Engine, repository: Path) -> None:
    given = {**FIRST, "have": ["12 data/one"]}
    sent = sending.send(Move(engine, given))
    assert sent["snapshot"] == "b" * 64 and not sent["more"] and "5000 data/one" in sent["have"]
    more = sending.send(Move(engine, {**given, "snapshot": False, "of": "c" * 64, "have": sent["have"]}))
    assert more["snapshot"] == "c" * 64
    part = os.stat(sent["pack"])
    assert (part.st_uid, part.st_mode & 0o777) == (LOGS_IN, 0o600) and part.st_size > 0


def test_an_instance_that_is_back_from_the_archive_and_moves_at_once_keeps_its_series(
    engine: Engine, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The snapshot of the last round tells the new host; backups wait by then."""
    kept = Path(engine.settings.directory, ".backup", "state.json")
    kept.parent.mkdir(parents=True)
    series = "2030-01-01T02:30:00+00:00"
    kept.write_text(json.dumps({"version": 1, "series": series, "begun": series}))
    monkeypatch.setattr(sending, "hold", lambda _move: None)
    sending.send(Move(engine, {**FIRST, "hold": True}))
    assert engine.state.series == transfer.backups_of(engine).series == series
    assert not kept.exists()


def test_tar_does_not_write_without_end(engine: Engine, repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "TAR", ("prlimit", "--fsize=2000", *sending.TAR[2:]))
    assert f"--fsize={2 * sending.PACK_BYTES}" in transfer.TAR
    with pytest.raises(CommandError):
        sending.send(Move(engine, FIRST))


def test_there_must_be_room_for_what_is_not_here_yet(
    engine: Engine, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[tuple[str, list[str]]] = []
    listing = SimpleNamespace(leaves=["data/home/ada", "data/home/ben"], database=None, database_type=None)
    monkeypatch.setattr(restore, "manifest_of", lambda *_given: listing)
    monkeypatch.setattr(restore, "check_room", lambda _run, snapshot, paths, tree: measured.append((snapshot, paths)))
    monkeypatch.setattr(restore, "fetch", lambda *_given: None)
    sent = sending.send(Move(engine, FIRST))
    one = Move(engine, {**sent, "place": False})
    Path(one.tree, "instance/data/home/ada").mkdir(parents=True)
    monkeypatch.setattr(receiving, "listed", lambda _run: [])
    receiving.receive(one)
    assert measured == [("b" * 64, ["instance/data/home/ben"])]
    # Nor does a reset of the new host start anything while directories are exchanged.
    order: list[str] = []
    monkeypatch.setattr(containers, "resets_kept_out", lambda _run: contextlib.nullcontext(order.append("locked")))
    monkeypatch.setattr(receiving, "place", lambda _move: order.append("placed"))
    receiving.receive(Move(engine, {**sent, "place": True}))
    assert order == ["locked", "placed"]


def test_what_went_to_a_third_host_is_not_moved_anew() -> None:
    assert move.elsewhere("tao", "", "192.0.2.7") == move.elsewhere("tao", "192.0.2.7", "192.0.2.7") == ""
    assert "tao was moved to 192.0.2.7 already" in move.elsewhere("tao", "192.0.2.7", "192.0.2.8")


def test_no_key_goes_over_with_the_certificates() -> None:
    one, other = (f"-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n" for text in ("QUJD", "REVG"))
    key = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n"
    assert move.certificates(f"of lab2\n{one}{key}{other}") == one + other
    assert move.certificates(one.replace("\n", "\r\n")) == one


def test_the_old_host_lets_in_whom_it_let_in_before_and_takes_certificates_of_authorities() -> None:
    record = {"engine": "tao", "port": 8801, "state": "present", "directory": "/srv/tao"}
    moving = {"name": "tao", "to": "192.0.2.7"}
    entry = lab(proxy={"directives": "Require ip 192.0.2.0/24"})
    (before,) = good([entry])["apache_vhosts"]
    (after,) = good([entry], moving=moving, current=host(instances={"tao": record}))["apache_vhosts"]
    (held,) = good([{**entry, "state": "held"}])["apache_vhosts"]
    assert "Require ip" in virtual_host(before) and "Require ip" in virtual_host(after)
    assert "Require ip" not in virtual_host(held)
    lines = [line.strip() for line in virtual_host(after).splitlines()]
    assert {"SSLProxyVerifyDepth 10", "SSLProxyCACertificatePath /etc/ssl/certs"} <= set(lines)


@pytest.mark.parametrize("name", ["copy", "undo"])
def test_the_move_is_undone_if_the_new_host_cannot_be_reached_any_more(name: str) -> None:
    """With any_errors_fatal, Ansible ends a play even where unreachable hosts are ignored, and skips the message."""
    tasks = yaml.safe_load((ROOT / f"playbooks/tasks/move/{name}.yml").read_text())
    there = [task for task in tasks if "delegate_to" in task]
    assert len(there) == 2
    for task in there:
        assert task["ignore_unreachable"] and task["any_errors_fatal"] is False
        after = tasks[tasks.index(task) + 1]
        assert name == "undo" or after["when"] == f"{task['register']} is unreachable"
