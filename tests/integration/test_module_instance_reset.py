# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module as Ansible runs it, in directories of the test, with a program that the test controls."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from module_runner import run

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")

DONE = {"result": "done", "exit_code": 0, "message": "reset", "seconds": 21.4}
PROGRAM = """#!/bin/sh
echo "$*" > /var/lib/carrel/tao/reset/flags
echo '{content}' > /var/lib/carrel/tao/reset/state.json
echo said >&2
exit {code}
"""
PLACES = ("/etc", "/var/lib", "/usr/local/sbin")


class Host:
    """Folders that are mounted over the machine's own for the module alone."""

    def __init__(self, folder: Path) -> None:
        self.root = folder
        self.folder = self.root / "var/lib/carrel/tao"
        self.settings = self.root / "etc/carrel/reset/tao.json"
        self.executable = self.root / "usr/local/sbin/carrel-reset"
        for parent in (self.folder / "reset", self.settings.parent, self.executable.parent):
            parent.mkdir(parents=True)
        self.settings.write_text("{}")

    def program(self, code: int, **content: Any) -> None:
        self.executable.write_text(PROGRAM.format(content=json.dumps(content), code=code))
        self.executable.chmod(0o755)

    def run(self, check: bool = False, name: str = "tao", **options: Any) -> dict[str, Any]:
        mounts = " && ".join(f"mount --bind {self.root}{place} {place}" for place in PLACES)
        prefix = ("unshare", "--mount", "sh", "-c", f'{mounts} && exec "$@"', "sh")
        return run("instance_reset", {"name": name, **options}, check, prefix)

    @property
    def flags(self) -> str | None:
        file = self.folder / "reset" / "flags"
        return file.read_text() if file.exists() else None


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_it_runs_the_program_and_returns_its_state(host: Host) -> None:
    host.program(0, **DONE, history=[DONE])
    answer = host.run(people="skip", pull=False)
    assert host.flags == "tao --people skip --no-pull\n"
    assert (answer["changed"], answer["exit_code"], answer["put_off"], answer["state"]) == (True, 0, False, DONE)


def test_it_in_check_mode_runs_nothing(host: Host) -> None:
    host.program(0, **DONE)
    assert host.run(check=True)["changed"] is True
    assert host.flags is None


@pytest.mark.parametrize("check", [False, True])
def test_it_skips_a_held_instance_even_where_the_program_is_missing(host: Host, check: bool) -> None:
    (host.folder / "instance.json").write_text('{"state": "held"}')
    answer = host.run(check)
    assert (answer["changed"], answer["skipped"]) == (False, True)


def test_it_skips_what_the_program_finds_held_and_puts_off(host: Host) -> None:
    host.program(0, result="held")
    assert host.run()["skipped"] is True
    host.program(4, result="put off", message="busy")
    answer = host.run()
    assert (answer.get("failed", False), answer["changed"], answer["put_off"], answer["msg"]) == (
        False, False, True, "tao was put off: busy",
    )  # fmt: skip


def test_it_fails_with_the_programs_words(host: Host) -> None:
    host.program(5, result="failed", exit_code=5, message="the engine is gone")
    answer = host.run()
    assert answer["failed"] and answer["exit_code"] == 5
    assert answer["msg"].startswith("the engine is gone\n")


@pytest.mark.parametrize("check", [False, True])
def test_it_without_the_program_or_its_settings(host: Host, check: bool) -> None:
    for missing in (host.executable, host.settings):
        host.program(0)
        missing.unlink(missing_ok=True)
        answer = host.run(check)
        assert answer["failed"] and "carrel.jupyter.site" in answer["msg"]


def test_it_follows_no_link_of_the_accounts(host: Host) -> None:
    host.program(0, **DONE)
    host.executable.write_text("#!/bin/sh\n")
    (host.folder / "reset" / "state.json").symlink_to("/etc/passwd")
    answer = host.run()
    assert answer["failed"] and "link" in answer["msg"]


@pytest.mark.parametrize("name", ["../../etc", "tao/x", "", "--help"])
def test_it_refuses_an_invalid_name(host: Host, name: str) -> None:
    assert "is not a name for an instance" in host.run(name=name)["msg"]
