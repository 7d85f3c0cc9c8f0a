# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is decided about a move, and the gate in which requests wait."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.carrel.jupyter.plugins.module_utils._site import compose, move
from carrel_backup import containers, gate, sending, settings
from carrel_backup.run import BackupError
from locks import is_free
from plan_helpers import HOST, good, host, lab

from testbed.patience import until

ROOT = Path(__file__).resolve().parents[2]
RANGE = {"start": 165536, "count": 65536}
ENGINES = {"tao": {"uid": 1001, "gid": 1001, "socket": "/run/user/1001/docker.sock", "subuid": RANGE, "subgid": RANGE}}
BACKUP = {"repository": "/srv/backup", "password": "a secret", "at": "01:00"}


def test_the_new_host_plans_with_what_the_old_one_declares() -> None:
    written = lab(memory="2G", port=8805)
    (entry,) = good([written], entry="tao")["entries"].values()
    assert entry == written
    geo = lab(name="geo", url="https://geo.example.org/")
    moving = {"name": "tao", "entry": {**entry, "moved_to": "192.0.2.9"}, "state": "held"}
    found = good([geo], moving=moving, current=HOST)
    tao = next(each for each in found["lab_instances"] if each["name"] == "tao")
    assert (tao["state"], tao["moved_to"], tao["port"], tao["limits"]["memory"]) == ("held", None, 8805, 2 << 30)
    # One that comes back takes the place of what was left behind.
    again = good([lab(moved_to="192.0.2.7")], moving={**moving, "state": "present"}, current=HOST)
    assert [(each["state"], each["moved_to"]) for each in again["lab_instances"]] == [("present", None)]


def test_a_host_that_gets_one_back_forwards_until_it_has_it() -> None:
    moving = {"name": "tao", "entry": lab(), "was": "192.0.2.7"}
    record = {"engine": "tao", "port": 8801, "state": "held", "directory": "/srv/tao", "moved_to": "192.0.2.7"}
    for state, forwards in (("held", True), ("present", False)):
        current = host(instances={"tao": record})
        found = good([lab(moved_to="192.0.2.7")], moving={**moving, "state": state}, current=current)
        assert found["lab_instances"][0]["state"] == state
        assert bool(found["apache_vhosts"][0]["locations"][0]["moved"]) is forwards
        assert json.loads(compose.record("lab", found["lab_instances"][0]))["moved_to"] == "192.0.2.7"


def test_the_old_host_forwards_and_has_no_backups_any_more() -> None:
    moving = {"name": "tao", "to": "192.0.2.7"}
    record = {"engine": "tao", "port": 8801, "state": "present", "directory": "/srv/tao"}
    groups = {"jupyter_instances_course": [lab()]}
    for found in (
        good([lab(backup=BACKUP)], moving=moving, current=host(instances={"tao": record})),
        good([], groups=groups, moving=moving),
        good([lab(moved_to="192.0.2.7")], current=host(instances={"tao": {**record, "moved_to": "192.0.2.7"}})),
    ):
        (location,) = found["apache_vhosts"][0]["locations"]
        certificates = "/etc/carrel/move/tao.pem"
        assert location["moved"] == {"backend": "https://192.0.2.7:443", "certificates": certificates}
        assert found["backup_jobs"][0]["backup"] is None and found["lab_instances"][0]["state"] == "held"
        assert json.loads(compose.record("lab", found["lab_instances"][0]))["moved_to"] == "192.0.2.7"
    assert good([lab()])["apache_vhosts"][0]["locations"][0]["moved"] is None


def test_the_site_playbook_leaves_the_record_of_a_move_as_it_is() -> None:
    """Otherwise the first run after a move would change it, and no later one would miss the declaration."""
    record = {"engine": "tao", "port": 8801, "state": "present", "directory": "/srv/tao", "moved_from": "lab1"}
    for declared, kept in ((lab(), "moved_from"), (lab(moved_to="192.0.2.7"), "moved_to")):
        there = {"moved_to": "192.0.2.7"} if kept == "moved_to" else {}
        found = good([declared], current=host(instances={"tao": {**record, **there}}))
        written = json.loads(compose.record("lab", found["lab_instances"][0]))
        assert {"moved_from", "moved_to"} & written.keys() == {kept}


def test_what_cannot_be_moved_is_refused() -> None:
    plans = {"a": good([lab()], entry="tao"), "b": good([lab(moved_to="192.0.2.7")], entry="tao"), "c": good([])}
    assert move.hosts_of("tao", plans) == ["a"]
    assert move.problem("tao", "c", ["a"], list(plans)) == ""
    assert "no host of the inventory declares tao" in move.problem("tao", "c", [], list(plans))
    assert "a and c declare tao" in move.problem("tao", "c", ["a", "c"], list(plans))
    assert "no host d" in move.problem("tao", "d", ["a"], list(plans))
    assert move.room(10, 10, 20, "a", "b") == ""
    assert move.room(10, 9, 20, "a", "b").startswith("a has") and move.room(10, 10, 19, "a", "b").startswith("b has")
    assert "moved_to: 192.0.2.7" in " ".join(move.advice("tao", "a", "b", "192.0.2.7"))


def test_a_choice_of_hosts_is_refused_before_anything_else() -> None:
    """With -e it has priority over the hosts that the playbook sets for the site playbook within a move."""
    given = ["-e", "jupyter_move_instance=tao", "-e", "jupyter_move_to=lab2"]
    hosts = ["-e", "jupyter_hosts=lab1"]
    for more, said in ((hosts, "leave jupyter_hosts out"), ([], "no host of the inventory declares tao")):
        done = subprocess.run(
            ["ansible-playbook", "-i", "lab1,lab2,", "-c", "local", "playbooks/move.yml", *given, *more],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 2 and said in done.stdout, done.stdout + done.stderr


def test_the_settings_are_those_that_the_program_reads() -> None:
    (job,) = good([lab(token_file="/srv/tokens/tao")])["backup_jobs"]
    found = {**move.settings(job, ENGINES, "geo1"), "password": "x"}
    assert settings.problems(found) == [] and settings.of(found).token_file == "/srv/tokens/tao"
    with pytest.raises(ValueError, match="engine tao"):
        move.settings(job, {}, "geo1")


def test_a_snapshot_goes_after_what_it_needs() -> None:
    printed = "9 snapshots/s\x0010 data/1/a\x0010 data/2/b\x0010 data/3/c\x005 index/i\x001 config\x00"
    parts, have = [], ["10 data/1/a"]
    more = True
    while more:
        chosen, more = sending.choose(printed, have, 12)
        have += chosen
        parts.append(chosen)
    assert parts == [["1 config", "10 data/2/b"], ["10 data/3/c"], ["5 index/i"], ["9 snapshots/s"]]
    assert sending.choose(printed, have, 12) == ([], False)


def test_what_came_over_in_part_goes_again() -> None:
    assert sending.choose("10 data/1/a b\x00", ["4 data/1/a b"], 12) == (["10 data/1/a b"], False)


def test_a_file_that_restic_would_not_write_is_refused() -> None:
    with pytest.raises(BackupError, match=r"data/1/a is not a file of restic"):
        sending.choose("13 data/1/a\x00", [], 12)


class Backend(threading.Thread):
    """Answers each connection with its own name and what it got."""

    def __init__(self, name: str) -> None:
        super().__init__(daemon=True)
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.label = name.encode("ascii")
        self.start()

    def run(self) -> None:
        while True:
            connection, _unused = self.socket.accept()
            with connection:
                connection.sendall(self.label + b" " + connection.recv(1000))


class Gate:
    def __init__(self, folder: Path, *locks: Path) -> None:
        self.folder = folder
        command = [sys.executable, "-I", gate.__file__, str(folder), "nobody", "20", *map(str, locks)]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE)
        until(
            lambda: containers.listens(str(folder / "socket")) or self.process.poll() is not None, "it listens or ends"
        )

    def hold(self) -> None:
        (self.folder / "hold").touch()

    def go(self, backend: Backend) -> None:
        target = {"address": "127.0.0.1", "port": backend.port, "tls": False, "server_name": "x", "certificates": None}
        (self.folder / "new").write_text(json.dumps(target))
        (self.folder / "new").rename(self.folder / "go")

    def ask(self, text: bytes) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(20)
        connection.connect(str(self.folder / "socket"))
        connection.sendall(text)
        return connection


def is_over(connection: socket.socket) -> bool:
    """Whether the other end has closed it, by now."""
    connection.setblocking(False)
    try:
        return not connection.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True
    finally:
        connection.settimeout(20)


def answer(connection: socket.socket) -> bytes:
    with connection:
        return b"".join(iter(lambda: connection.recv(1000), b""))


@pytest.fixture
def folder() -> Iterator[Path]:
    found = Path(tempfile.mkdtemp(dir="/tmp"))
    found.chmod(0o711)
    yield found
    shutil.rmtree(found)


def test_requests_wait_until_it_is_known_where_to(folder: Path) -> None:
    one = Gate(folder)
    one.hold()
    waiting = [one.ask(b"%d" % number) for number in range(20)]
    time.sleep(0.5)
    for connection in waiting:
        connection.setblocking(False)
        with pytest.raises(BlockingIOError):
            connection.recv(1)
        connection.settimeout(20)
    one.go(Backend("new"))
    assert [answer(connection) for connection in waiting] == [b"new %d" % number for number in range(20)]
    assert answer(one.ask(b"late")) == b"new late"
    assert one.process.poll() is None
    (folder / "hold").unlink()
    assert one.process.wait(20) == 0


def test_too_many_are_sent_away_at_once(folder: Path) -> None:
    """Each one that waits holds a thread of Apache, which serves others as well."""
    one = Gate(folder)
    one.hold()
    connections = [one.ask(b"x") for _unused in range(gate.MOST_WAITING)]
    for _unused in range(3):
        late = one.ask(b"")
        time.sleep(0.1)
        assert not is_over(late)  # Apache would take the loss of its request for the browser's fault
        late.sendall(b"x")
        connections.append(late)
    until(lambda: sum(is_over(connection) for connection in connections) >= 3, "three are sent away")
    time.sleep(0.2)
    waiting = [connection for connection in connections if not is_over(connection)]
    one.go(Backend("new"))
    assert {answer(connection) for connection in waiting} == {b"new x"} and len(waiting) > 90
    (folder / "hold").unlink()
    one.process.wait(20)


def test_who_resets_or_backs_up_goes_before(folder: Path) -> None:
    (folder / "reset").mkdir()
    lock = folder / "reset" / "lock"
    lock.touch()
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        one = Gate(folder, lock)
        assert one.process.wait(20) == 3 and b"is running" in (one.process.stderr.read() if one.process.stderr else b"")
    other = Gate(folder, lock, folder / "nowhere" / "lock")
    other.hold()
    assert not is_free(lock)
    other.go(Backend("new"))
    assert answer(other.ask(b"x")) == b"new x"
    # The site playbook waits for resets of an instance that it holds.
    until(lambda: is_free(lock), "the lock is free")
    (folder / "hold").unlink()
    assert other.process.wait(20) == 0


def test_a_lock_that_is_made_is_the_folders_owners(folder: Path) -> None:
    """Or the account's own resets could not take it any more."""
    if os.geteuid():
        pytest.skip("only root gives files away")
    os.chown(folder, 12345, 12345)
    os.close(gate.opened(f"{folder}/lock"))
    assert (folder / "lock").stat().st_uid == 12345
