# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The reset program with a `docker` command that only writes down what it was told; tests/e2e has the real one."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.carrel.jupyter.plugins.module_utils import _reset

PROGRAM = Path(__file__).parents[2] / "roles" / "reset" / "files" / "reset.py"
JOB: dict[str, Any] = {
    "name": "tao", "account": "tao", "directory": "/srv/tao", "image": "lab:1", "hour": 1, "minute": 25, "pull": True,
    "state": "present",
}  # fmt: skip


class Bench:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.calls = folder / "calls"
        (folder / "bin").mkdir()
        (folder / "compose.yaml").write_text("{}")
        self.settings = {
            "name": "tao", "account": "nobody", "directory": str(folder), "image": "lab:1", "pull": False,
            "files": ["compose.yaml", "login/compose.yaml"],
        }  # fmt: skip
        self.docker("")

    def docker(self, behaviour: str) -> None:
        script = self.folder / "bin" / "docker"
        script.write_text(f'#!/bin/sh\necho "$(id -un) $DOCKER_HOST $*" >> {self.calls}\n{behaviour}\n')
        script.chmod(0o755)

    def run(self) -> subprocess.CompletedProcess[str]:
        path = self.folder / "reset.json"
        path.write_text(json.dumps(self.settings))
        environment = {"PATH": f"{self.folder / 'bin'}:/usr/bin:/bin"}
        return subprocess.run(
            ["/usr/bin/env", "python3", PROGRAM, path], env=environment, capture_output=True, text=True
        )

    def said(self) -> list[str]:
        lines = self.calls.read_text().splitlines() if self.calls.exists() else []
        return [line.split(" ", 2)[2].replace(str(self.folder), "DIR") for line in lines]


@pytest.fixture
def bench() -> Iterator[Bench]:
    # pytest's own temporary folders are closed to other accounts
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        yield Bench(Path(folder))


COMPOSE = "compose --project-directory DIR --file DIR/compose.yaml --file DIR/login/compose.yaml"


def test_down_and_up(bench: Bench) -> None:
    assert bench.run().returncode == 0
    assert bench.said() == [f"{COMPOSE} down", f"{COMPOSE} up --detach --wait"]


def test_pull_comes_first(bench: Bench) -> None:
    bench.settings["pull"] = True
    assert bench.run().returncode == 0
    assert bench.said()[0] == "pull --quiet lab:1"


def test_a_failed_pull_is_reported_and_the_reset_goes_on(bench: Bench) -> None:
    bench.settings["pull"] = True
    bench.docker('test "$1" != pull || { echo no route to registry; exit 1; }')
    done = bench.run()
    assert done.returncode == 0
    assert "no route to registry" in done.stderr
    assert bench.said()[-1] == f"{COMPOSE} up --detach --wait"


def test_a_failed_start_is_an_error_with_dockers_words(bench: Bench) -> None:
    bench.docker('case "$*" in *up*) echo port is taken; exit 17;; esac')
    done = bench.run()
    assert done.returncode == 1
    assert "exit code 17" in done.stderr and "port is taken" in done.stderr


def test_a_second_reset_at_the_same_time_does_nothing(bench: Bench) -> None:
    with (bench.folder / "compose.yaml").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = bench.run()
    assert done.returncode == 3
    assert bench.said() == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_root_becomes_the_account(bench: Bench) -> None:
    assert bench.run().returncode == 0
    account = bench.calls.read_text().splitlines()[0].split()
    assert account[0] == "nobody"
    assert account[1] == "unix:///run/user/65534/docker.sock"


@pytest.mark.parametrize("arguments", [[], ["/nowhere/reset.json"], ["a", "b"]])
def test_wrong_usage(arguments: list[str]) -> None:
    done = subprocess.run([sys.executable, PROGRAM, *arguments], capture_output=True, text=True)
    assert done.returncode == 2
    assert "Usage: reset.py" in done.stderr


def test_settings_that_are_not_json(tmp_path: Path) -> None:
    path = tmp_path / "reset.json"
    path.write_text("{")
    done = subprocess.run([sys.executable, PROGRAM, path], capture_output=True, text=True)
    assert done.returncode == 2


def test_the_files_of_a_job() -> None:
    program, settings, cron = _reset.files([JOB], "root", "/usr/local/lib/carrel/reset.py", "source")
    assert (program["path"], program["mode"], program["content"]) == (
        "/usr/local/lib/carrel/reset.py",
        "0755",
        "source",
    )
    assert settings["path"] == "/srv/tao/reset.json"
    assert json.loads(settings["content"])["pull"] is True
    assert cron["path"] == "/etc/cron.d/carrel-tao"
    assert cron["content"].splitlines()[-1] == "25 1 * * * tao /usr/local/lib/carrel/reset.py /srv/tao/reset.json"
    assert 'MAILTO="root"' in cron["content"]


def test_jobs_that_are_not_present_have_no_files() -> None:
    assert _reset.files([{**JOB, "state": "absent"}], "root", "program", "source") == []
