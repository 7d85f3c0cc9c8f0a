# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""An instance with backups, a stand-in for its engine, and one for restic."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._site import backup
from carrel_backup import inside, settings
from carrel_backup.commands import Account, CommandError
from carrel_backup.journal import Journal
from carrel_backup.restic import Answer, Restic
from carrel_backup.run import Run
from carrel_backup.state import State
from carrel_backup.wanted import Wanted
from plan_helpers import lab, plan

RANGE = {"start": 165536, "count": 65536}
ENGINES = {"tao": {"uid": 1001, "gid": 1001, "socket": "/run/user/1001/docker.sock", "subuid": RANGE, "subgid": RANGE}}
COMMON = {"repository": "rest:https://backup.example.org/geo1/", "password": "a secret", "at": "23:30"}
NOW = datetime(2030, 1, 10, 12, tzinfo=timezone.utc)
BEFORE, BEGUN, AFTER = "2030-01-01T02:30:00Z", "2030-01-02T02:30:00+00:00", "2030-01-03T02:30:00.123456789Z"
STOP = Wanted(overwrite=True, stop=True)


def jobs(common: dict[str, Any] | None = None, **keys: Any) -> list[dict[str, Any]]:
    result, problems = plan([lab(**keys)], backup=COMMON if common is None else common)
    assert result, problems
    found: list[dict[str, Any]] = result["backup_jobs"]
    return found


def install(found: list[dict[str, Any]], mailto: str = "root", instances: Sequence[str] = ()) -> dict[str, Any]:
    return backup.install(found, ENGINES, instances, "geo1", mailto, "program", {"run.py": "text"})


def taken(moment: str, host: str, *tags: str) -> dict[str, Any]:
    return {"time": moment, "tags": ["carrel", f"on:{host}", *(tags or ("whole",))]}


def fail(text: str) -> str:
    raise CommandError(text)


class Engine(Run):
    """A stand-in for an engine: real ones are in the integration tests. RUNNING: containers, by their names."""

    running: list[str]
    said: list[str]
    broken: str = ""
    late: list[str]

    def containers(self, *_filters: str, running: bool = True) -> list[dict[str, str]]:
        own = "com.docker.compose.project=tao"
        return [{"ID": name, "Names": name, "Labels": "" if name == "ada" else own} for name in self.running]

    def docker(self, *arguments: str, **_more: Any) -> str:
        command, name = arguments
        self.said.append(f"{command} {name}")
        own = {each for each in self.running if each != "ada"}
        assert command == "start" or own <= recorded(self).keys(), "what to start is written down first"
        if self.broken and self.broken in f"{command} {name}":
            raise CommandError(f"docker {command}: {self.broken}")
        if command == "stop":
            self.running.remove(name)
            self.running += [self.late.pop()] if self.late else []
        return ""

    def inside(self, *arguments: str, **_more: Any) -> Any:
        return getattr(inside, arguments[0])(*arguments[1:])


def recorded(run: Run) -> dict[str, str]:
    found: dict[str, str] = json.loads(Path(run.state.path).read_text())["start"]
    return found


@contextlib.contextmanager
def at_work(tmp_path: Path) -> Iterator[Engine]:
    """Its socket listens, and somebody's restore runs."""
    (text,) = [file["content"] for file in install(jobs())["files"] if file["path"] == "/etc/carrel/backup/tao.json"]
    content = {**json.loads(text), "password": "x", "environment": {}, "socket": str(tmp_path / "socket"),
               "directory": str(tmp_path), "state_directory": str(tmp_path / "state"),
               "run_directory": str(tmp_path / "run")}  # fmt: skip
    for name in ("state", "run"):
        (tmp_path / name).mkdir()
    account = Account("root", os.getuid(), os.getgid(), "/", frozenset(), ())
    state = State(str(tmp_path / "state.json"), "tao")
    found = settings.of(content)
    run = Engine(found, account, Restic(found, account), Journal("tao"), state, -1)
    run.running, run.said, run.late = ["hub"], [], []
    state.begin("restore", "all")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(found.socket)
        listener.listen()
        yield run


class Repository(Restic):
    """A stand-in for restic: the real one is in the integration tests."""

    def __init__(self, run: Run, *snapshots: dict[str, Any]) -> None:
        super().__init__(run.settings, run.account)
        self.there = list(snapshots)
        self.asked: list[tuple[str, ...]] = []

    def snapshots(self) -> list[dict[str, Any]]:
        return self.there

    def call(self, *arguments: str, **_more: Any) -> Answer:
        self.asked.append(arguments)
        return Answer(0, {}, [], [])
