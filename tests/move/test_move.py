# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A lab and a hub with PostgreSQL move to another host while people use them, and the hub moves back.

Ansible logs in by ssh as a user who becomes root with a password: with pipelining to one host, without it to the other.
The last move is done as root, without ssh. The tests look at one move after the other, in the order in which they stand
here.
"""

from __future__ import annotations

import contextlib
import os
import re
import resource
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from testbed import __main__ as testbed
from testbed import hosts as testbed_hosts
from testbed import pki, ssh
from testbed.client import Lab, LoginError
from testbed.hub_client import Hub
from testbed.load import Load
from testbed.patience import PATIENCE, until
from tests.e2e.conftest import ROOT, Playbook, Site, ansible_playbook, inventory, plain, run_on

ONE, TWO = "carrel-move-1", "carrel-move-2"
IMAGE = "registry.carrel.test:5000/carrel/lab:1.0"
LAB: dict[str, Any] = {"name": "tao", "kind": "lab", "url": "https://localhost:8476/", "image": IMAGE}
FIRST, OWN = "the first password of ada", "a password of ada's own"
HUB: dict[str, Any] = {
    "name": "class", "kind": "hub", "url": "https://localhost:8477/", "image": IMAGE,
    "authenticator": {"type": "native"},
    "database": {"type": "postgresql", "image": "registry.carrel.test:5000/carrel/postgres:17"},
    "users": [
        {"name": "prof", "admin": True, "password": "professor of statistics"},
        {"name": "ada", "password": FIRST},
    ],
    "groups": {"statistics": {"members": ["ada"], "admins": ["prof"]}},
}  # fmt: skip
DECLARED = {"tao": LAB, "class": HUB}
# The names lead to the host on which an instance is at first; 8478 leads to the lab once it has moved.
PORTS = {ONE: "8477,8478:8476,8479:22", TWO: "8476,8480:22"}
SSH_PORTS = {ONE: 8479, TWO: 8480}
WRITE = """
import os
open('kept.py', 'w').write('kept'); os.chmod('kept.py', 0o750)
os.link('kept.py', 'linked.py'); os.symlink('kept.py', 'also.py')
"""
# More than two parts, because it can't be compressed; and files that change until the server stops.
CHANGE = """
import os, random, time
while True:
    with open('growing', 'ab') as growing: growing.write(os.urandom(2**16))
    with open('large', 'r+b') as large:
        large.seek(random.randrange(2**24)); large.write(os.urandom(2**16))
    time.sleep(0.5)
"""
LARGE = f"""
import os, subprocess, sys
with open('large', 'wb') as large:
    for _ in range(600): large.write(os.urandom(2**20))
subprocess.Popen([sys.executable, '-c', {CHANGE!r}])
"""
READ = "print(open('kept.py').read(), end='')"
# As the containers see them, because the hosts may map them to other ids.
LISTING = "cd; find . -path './.*' -prune -o -not -name growing -printf '%m %U:%G %n %s %l %p\\n'"


class Hosts:
    """The inventory of the two hosts, and the playbooks that run with it."""

    def __init__(self, folder: Path, hub_base: str) -> None:
        self.folder, self.hub_base = folder, hub_base
        self.reached = {
            host: {**ssh.reach(host, port, folder), "ansible_pipelining": host == TWO}
            for host, port in SSH_PORTS.items()
        }
        self.instances: dict[str, list[dict[str, Any]]] = {ONE: [HUB], TWO: [LAB]}

    def play(self, playbook: str, *arguments: str) -> Playbook:
        return ansible_playbook(self.folder, self.variables(), f"playbooks/{playbook}.yml", *arguments)

    def move(self, name: str, target: str) -> Playbook:
        return self.play("move", *extra(name, target))

    def move_killed(self, name: str, target: str, host: str, *at: str) -> None:
        """Start a move, and kill its playbook as soon as a command on a host prints anything."""
        command = ["ansible-playbook", "-i", inventory(self.folder, self.variables()), "playbooks/move.yml"]
        with (self.folder / "killed.log").open("w+") as log:
            playbook = subprocess.Popen(
                [*command, *extra(name, target)],
                cwd=ROOT, env={**plain(), "TMPDIR": str(self.folder)}, stdout=log, stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip
            try:
                until(
                    lambda: playbook.poll() is not None or run_on(host, *at, check=False),
                    f"{at} prints something",
                    3 * PATIENCE,
                )
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(playbook.pid, signal.SIGKILL)
                playbook.wait()
                log.seek(0)
                print(log.read())
        assert playbook.returncode == -signal.SIGKILL, "it was at work"

    def write_down(self, name: str, moved: Playbook) -> None:
        """Write into the inventory what the playbook said."""
        found = re.search(r"2\. Add to the entry of (\S+): moved_to: ([\d.]+)", moved.output)
        assert found, "it says what to write"
        for host, declared in self.instances.items():
            others = [each for each in declared if each["name"] != name]
            gone = {"moved_to": found[2]} if host == found[1] else {}
            self.instances[host] = [*others, {**DECLARED[name], **gone}]

    def variables(self) -> dict[str, Any]:
        common = testbed_hosts.variables(self.hub_base)
        return {
            host: {**common, **self.reached.get(host, {}), "jupyter_instances": declared}
            for host, declared in self.instances.items()
        }


def extra(name: str, target: str) -> list[str]:
    return ["--extra-vars", f"jupyter_move_instance={name} jupyter_move_to={target}"]


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    testbed.down("move")  # what a run that was killed has left
    try:
        testbed.up("move", [f"{host}={ports}" for host, ports in PORTS.items()])
        hosts = Hosts(tmp_path_factory.mktemp("hosts"), testbed.push_hub_base())
        assert hosts.play("site").code == 0
        yield hosts
    finally:
        testbed.down("move")


@pytest.fixture(scope="module")
def lab(hosts: Hosts) -> Iterator[Lab]:
    """Somebody at the lab, who logged in before it moved."""
    with Lab(LAB["url"], str(pki.CA)).login(Site(TWO, LAB).secret) as lab:
        lab.run(WRITE)
        yield lab


@pytest.fixture(scope="module")
def ada(hosts: Hosts) -> Iterator[Hub]:
    """Ada, who logged in before the hub moved, changed her password, and has a server."""
    with Hub(HUB["url"], str(pki.CA)).login("ada", FIRST) as ada:
        ada.change_password(FIRST, OWN)
        with ada.spawn() as lab:
            lab.run(WRITE)
        yield ada


def listing(host: str, declared: dict[str, Any], container: str) -> list[str]:
    return sorted(Site(host, declared).docker("exec", container, "sh", "-c", f'"{LISTING}"').splitlines())


def content(host: str) -> str:
    return run_on(
        host,
        "sh",
        "-c",
        "cd /srv/tao/data/notebooks && find . -path './.*' -prune -o -type f -exec sha256sum {} + | sort",
    )


def forwards(host: str, name: str) -> bool:
    return "moved_to" in run_on(host, "cat", f"/var/lib/carrel/{name}/instance.json")


def at_work(ada: Hub) -> str:
    """What Ada reads in the server that she starts."""
    with ada.spawn() as lab:
        return lab.run(READ)


def test_a_lab_moves_while_people_use_it(hosts: Hosts, lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    old, new = Site(TWO, LAB), Site(ONE, LAB)
    lab.run(LARGE)
    hosts.move_killed("tao", ONE, ONE, "find", "/var/lib/carrel/tao/move/repository/data", "-type", "f")
    before, token = listing(TWO, LAB, old.container_name()), old.secret
    assert any(line.startswith("750 1000:100 2 ") for line in before)
    cookies = dict(lab.http.cookies)
    url = LAB["url"] + "api/contents/kept.py"
    with Load(url, str(pki.CA), cookies, timeout_seconds=PATIENCE) as load:
        moved = hosts.move("tao", ONE)
    with capsys.disabled():
        print(f"\ntests/move: {len(load.answers)} requests, {load.longest_gap:.1f} s at most without an answer")
    assert moved.code == 0
    hosts.write_down("tao", moved)
    assert load.failures == []
    assert forwards(TWO, "tao") and not forwards(ONE, "tao")
    # Neither Ansible nor the programs that it starts keep a whole part.
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < 256 * 2**10
    assert listing(ONE, LAB, new.container_name()) == before
    assert content(ONE) == content(TWO)
    assert new.secret == token
    with Lab(LAB["url"], str(pki.CA)).login(token) as again:
        assert again.run(READ) == "kept"
    # Once the name leads there, without the old host.
    host = {"Host": "localhost:8476"}
    answer = requests.get("https://localhost:8478/api/status", headers=host, cookies=cookies, verify=str(pki.CA))
    assert answer.status_code == 200


def test_a_move_that_is_killed_in_the_middle_is_run_again(hosts: Hosts, ada: Hub) -> None:
    hosts.move_killed("class", TWO, ONE, "find", "/run/carrel/move/class/hold")
    moved = hosts.move("class", TWO)
    assert moved.code == 0
    hosts.write_down("class", moved)
    assert forwards(ONE, "class") and not forwards(TWO, "class")


def test_people_of_a_hub_stay_logged_in(ada: Hub) -> None:
    user = ada.user()
    assert (user["name"], user["groups"], user["admin"]) == ("ada", ["statistics"], False)
    assert at_work(ada) == "kept"
    found = listing(TWO, HUB, "class_ada")
    assert any(line.startswith("750 1000:100 2 ") for line in found)


def test_first_passwords_and_changed_ones_count(ada: Hub) -> None:
    for user, password in (("prof", "professor of statistics"), ("ada", OWN)):
        Hub(HUB["url"], str(pki.CA)).login(user, password).http.close()
    with pytest.raises(LoginError):
        Hub(HUB["url"], str(pki.CA)).login("ada", FIRST)


def test_the_way_back_is_killed_after_the_switch(hosts: Hosts, ada: Hub) -> None:
    hosts.reached = {}  # as root, without ssh
    with ada.lab() as lab:
        lab.run("open('kept.py', 'w').write('kept on the new host')")
    hosts.move_killed("class", ONE, TWO, "grep", "moved_to", "/var/lib/carrel/class/instance.json")
    # Apache still sends requests to the gate, which has its new target.
    assert run_on(TWO, "find", "/run/carrel/move/class/hold")
    assert ada.user()["name"] == "ada"
    moved = hosts.move("class", ONE)
    assert moved.code == 0
    hosts.write_down("class", moved)
    assert forwards(TWO, "class") and not forwards(ONE, "class")
    assert at_work(ada) == "kept on the new host"


def test_the_site_playbook_changes_nothing_any_more(hosts: Hosts, lab: Lab, ada: Hub) -> None:
    after = hosts.play("site")
    assert (after.code, after.changed) == (0, 0)
    assert ada.user()["name"] == "ada"
    assert lab.request("GET", "api/status", allow_redirects=False).status_code == 200
