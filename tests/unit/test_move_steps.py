# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the steps of a move write down and refuse, without an engine, and what Apache is told afterwards."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml
from ansible.plugins.filter.core import FilterModule
from ansible.plugins.test.core import TestModule as CoreTests
from ansible_collections.carrel.jupyter.plugins.module_utils._site import move
from carrel_backup import receiving, settings
from carrel_backup.commands import Account, CommandError
from carrel_backup.journal import Journal
from carrel_backup.restic import Restic
from carrel_backup.run import Run
from carrel_backup.state import State
from carrel_backup.transfer import Move
from plan_helpers import good, host, lab

ROOT = Path(__file__).resolve().parents[2]
RANGE = {"start": 165536, "count": 65536}
ENGINES = {"tao": {"uid": 1001, "gid": 1001, "socket": "", "subuid": RANGE, "subgid": RANGE}}
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
         "run_directory": str(tmp_path / "run")}
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
    receiving.settle(one)
    assert engine.record() == {"engine": "tao", "port": 8801, "state": "present", "moved_from": "lab1"}


def test_what_went_to_a_third_host_is_not_moved_anew() -> None:
    assert move.elsewhere("tao", "", "192.0.2.7") == move.elsewhere("tao", "192.0.2.7", "192.0.2.7") == ""
    assert "tao was moved to 192.0.2.7 already" in move.elsewhere("tao", "192.0.2.7", "192.0.2.8")


def test_no_key_goes_over_with_the_certificates() -> None:
    one, other = (f"-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n" for text in ("QUJD", "REVG"))
    key = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n"
    assert move.certificates(f"of lab2\n{one}{key}{other}") == one + other
    assert move.certificates(one.replace("\n", "\r\n")) == one


def virtual_host(found: dict[str, Any]) -> str:
    """The virtual host of Apache, as the role writes it."""
    folder = ROOT / "roles" / "apache"
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(folder / "templates"), trim_blocks=True)
    environment.filters.update(FilterModule().filters())
    environment.tests.update(CoreTests().tests())
    known = {**yaml.safe_load((folder / "vars/main.yml").read_text()), "lookup": lambda *_given: "a page"}
    known.update(yaml.safe_load((folder / "defaults/main.yml").read_text()))
    return environment.get_template("vhost.conf.j2").render(**known, vhost=found)


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
