# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How what people ask for is brought back: what killed runs left, full homes, locks, and long folders.

A stand-in answers for restic; the real one is in tests/integration/test_backup_page.py.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from carrel_backup import answer, asked, inside, restore, trees
from carrel_backup.asked import RefusedError
from carrel_backup.commands import Account
from carrel_backup.restic import FULL, Answer, Needed, Restic, reason
from carrel_backup.run import INCOMPLETE
from test_backup_shadow import Engine, engine_of
from test_plan_action import HERE
from test_plan_action import run as ansible

SNAPSHOT = {"id": "ab" * 32, "time": "2030-01-31T02:30:00.5Z"}
WANTED = asked.Asked("bring", "ada", SNAPSHOT["id"], ("thesis",), 0)
BUILTIN = "ansible.builtin"
ROLES = Path(__file__).parents[2] / "roles"


class Repository(Restic):
    """Has one file; ERRORS are what its restore meets."""

    errors: Sequence[tuple[str, str]] = ()

    def read(self, *_arguments: str, **_more: Any) -> str:
        return json.dumps({"nodes": [{"name": "thesis", "type": "file", "mtime": SNAPSHOT["time"]}]})

    def size(self, snapshot: str, paths: Sequence[str]) -> Needed:
        return Needed(50)

    def call(self, *_arguments: str, **_more: Any) -> Answer:
        full = any(reason(what) in FULL for _path, what in self.errors)
        return Answer(0, {}, list(self.errors), [], full)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    found = engine_of("hub", tmp_path)
    found.restic = Repository(found.settings, found.account)
    (tmp_path / WANTED.leaf).mkdir(parents=True)
    monkeypatch.setattr(answer, "join_project", lambda *_paths: None)
    monkeypatch.setattr(answer, "room", lambda _run: 100)
    monkeypatch.setattr(inside, "bring", lambda *_arguments: inside.MISSING)  # what restic's stand-in brings
    return found


def bring(hub: Engine) -> str:
    with pytest.raises(RefusedError) as refused:
        answer.bring(hub, WANTED, SNAPSHOT, lambda _content: None)
    return str(refused.value)


def test_what_a_killed_run_left_takes_no_room(hub: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = tmp_path / answer.BRINGING / "ada" / "tree"
    left.mkdir(parents=True)
    (left / "restored").write_text("left")
    monkeypatch.setattr(answer, "room", lambda _run: 0 if (left / "restored").exists() else 100)
    assert bring(hub) == answer.ABSENT, "restic brought nothing, which is said"
    monkeypatch.setattr(answer, "room", lambda _run: 0)
    assert "too little room" in bring(hub)
    assert not os.listdir(tmp_path / answer.BRINGING)


@pytest.mark.parametrize("said", ["write x: disk quota exceeded", "open x: no space left on device"])
def test_a_full_home_is_told_whatever_the_file_system_calls_it(hub: Engine, said: str) -> None:
    hub.restic.errors = [("x", said)]  # type: ignore[attr-defined]  # a stand-in, which is no Restic
    assert bring(hub) == answer.FULL


WORKING = """
import json, time
print(json.dumps({"message_type": "status", "percent_done": 0.5}), flush=True)
time.sleep(60)  # at work, until it is ended
"""


class Working(Account):
    """restic is a program that has come half-way."""

    def mapped(self) -> list[str]:
        return [sys.executable, "-c", WORKING]


def test_a_host_that_fills_up_meanwhile_is_told(hub: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    working = Restic(hub.settings, Working("root", os.getuid(), os.getgid(), "/", frozenset(), ()))
    monkeypatch.setattr(hub.restic, "call", working.call)
    monkeypatch.setattr(restore, "room", lambda _run: -1)
    assert bring(hub) == answer.CROWDED


def test_a_name_without_a_home_leaves_no_file(hub: Engine, tmp_path: Path) -> None:
    nobody = dataclasses.replace(WANTED, user="nobody")
    with pytest.raises(RefusedError, match="not there yet"), answer.lock(hub.settings, nobody):
        pass
    assert not (tmp_path / "state_directory" / "bringing").exists()


@pytest.mark.parametrize("text", ["", "[1", "\0" * 10, "5", '{"a": 1}'])
def test_a_damaged_lock_shuts_nobody_out(hub: Engine, tmp_path: Path, text: str) -> None:
    path = tmp_path / "state_directory" / "bringing" / "ada"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with answer.lock(hub.settings, WANTED) as held:
        assert held is not None
    assert len(json.loads(path.read_text())) == 1


def test_who_asks_too_late_gets_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer, "ASK_SECONDS", -1)
    assert answer.request() == ""


def test_two_runs_may_find_what_a_third_left(hub: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    left = Path(hub.settings.run_directory) / "password.999999999"
    left.parent.mkdir()
    left.write_text("x")

    def gone(path: str) -> bool:
        if path.startswith("/proc/"):
            left.unlink()
        return os.path.lexists(path)

    monkeypatch.setattr(os.path, "exists", gone)
    hub.prepare()
    assert os.listdir(hub.settings.run_directory) == [os.path.basename(hub.restic.password_file)]


@pytest.mark.parametrize(
    ("stored", "shown"),
    [
        ("2030-01-31T02:30:00.123456789Z", "2030-01-31T02:30:00"),
        ("2030-01-31T00:30:00+01:00", "2030-01-30T23:30:00"),
        ("2030-01-31T22:30:00-05:30", "2030-02-01T04:00:00"),
        ("0001-01-01T00:00:00+01:00", "0001-01-01T00:00:00"),
        ("292277026596-12-04T15:30:07Z", "292277026596-12-04T"),
    ],
)
def test_times_of_files_are_in_utc(stored: str, shown: str) -> None:
    (found,) = trees.entries(json.dumps({"nodes": [{"name": "a", "type": "file", "mtime": stored}]}))
    assert found["modified"] == shown


class Endless(Account):
    """restic is a program that prints more than a folder may have."""

    def mapped(self) -> list[str]:
        return [sys.executable, "-c", f"print('x' * {trees.LONGEST + 1})"]


def test_a_folder_with_too_many_files_is_told(hub: Engine) -> None:
    endless = Restic(hub.settings, Endless("root", os.getuid(), os.getgid(), "/", frozenset(), ()))
    with pytest.raises(RefusedError, match="too many files to be shown"):
        trees.folder(endless, SNAPSHOT["id"], WANTED.inside)


def test_nothing_is_removed_if_its_last_backup_lacks_something() -> None:
    (block,) = yaml.safe_load((ROLES / "backup" / "tasks" / "last.yml").read_text())
    taken, checked = block["block"]
    assert checked["ansible.builtin.fail"]["msg"] == f"{{{{ {taken['register']}.msg }}}}"
    assert checked["when"] == f"{taken['register']}.exit_code == {INCOMPLETE}"
    (said,) = block["rescue"]
    assert "backup: {enabled: false}" in said["ansible.builtin.fail"]["msg"]


@pytest.mark.parametrize("kind", ["hub", "lab"])
def test_a_last_snapshot_is_of_what_is_there_and_comes_before_the_claim(kind: str) -> None:
    tasks = yaml.safe_load((ROLES / kind / "tasks" / "absent.yml").read_text())
    first, snapshot, claim = tasks[:3]
    assert snapshot["ansible.builtin.include_role"]["tasks_from"] == "last.yml"
    assert snapshot["when"] == [f"__{kind}_recorded | length > 0", f"{first['register']}.stat.exists"]
    assert "carrel.jupyter.instance_claim" in claim


def test_a_hub_that_is_being_removed_is_recorded_as_held_before_its_database_stops(tmp_path: Path) -> None:
    """Otherwise the last backup of the next run would lack a dump. Nothing else of the record changes."""
    tasks = yaml.safe_load((ROLES / "hub" / "tasks" / "absent.yml").read_text())
    (number,) = [number for number, task in enumerate(tasks) if "carrel.jupyter.install_files" in task][:-1]
    stopping = next(number for number, task in enumerate(tasks) if task.get(f"{BUILTIN}.include_tasks") == "stop.yml")
    assert number < stopping
    before = {"name": "tao", "kind": "hub", "port": 8801, "state": "present", "database": "postgresql"}
    path = tmp_path / "instance.json"
    (file,) = tasks[number]["carrel.jupyter.install_files"]["files"]
    task = {f"{BUILTIN}.copy": {"dest": str(path), "content": file["content"]}, "when": tasks[number]["when"]}
    known = {"__hub_recorded": before, "__hub_directory": {"stat": {"exists": True}}}
    playbook = tmp_path / "play.yml"
    playbook.write_text(yaml.safe_dump([{"hosts": "all", "gather_facts": False, "vars": known, "tasks": [task]}]))
    done = ansible(tmp_path, {"h1": HERE}, playbook)
    assert done.returncode == 0, done.stdout
    assert json.loads(path.read_text()) == {**before, "state": "held"}
