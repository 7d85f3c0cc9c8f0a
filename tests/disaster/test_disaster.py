# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/howto/disaster.md, followed word by word: a host is lost, the inventory and the repositories are left.

The hub's repository is on a disk that is moved over, the lab's on a server.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from testbed import __main__ as testbed
from testbed import hosts, images
from testbed.client import Lab
from testbed.hub_client import Hub, LoginError
from testbed.run import run
from tests.e2e.conftest import ROOT, Site, ansible_playbook, inventory, run_on, run_playbook

GROUP = "disaster"
HOST = "carrel-disaster-1"
SERVER = "carrel-disaster-backups"
PAGE = ROOT / "docs" / "howto" / "disaster.md"
BLOCK = re.compile(r"^ *```\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)
LAB: dict[str, Any] = {
    "name": "tao", "kind": "lab", "url": "https://localhost:8485/", "image": f"{hosts.REGISTRY_NAME}/carrel/lab:1.0",
    "engine": "class", "token_file": "/var/lib/tokens/tao",
    "backup": {"repository": f"rest:http://{SERVER}:8000", "append_only": True},
}  # fmt: skip
HUB: dict[str, Any] = {
    "name": "class", "kind": "hub", "url": "https://localhost:8486/", "image": f"{hosts.REGISTRY_NAME}/carrel/lab:1.0",
    "authenticator": {"type": "native", "signup": True},
    "users": [
        {"name": "prof", "admin": True, "password": "professor of statistics"},
        {"name": "ada", "password": "the first password of ada"},
    ],
    "groups": {"statistics": {"members": ["ada"], "admins": ["prof"]}},
    "database": {"type": "postgresql", "image": f"{hosts.REGISTRY_NAME}/carrel/postgres:17"},
}  # fmt: skip
TAO, CLASS = Site(HOST, LAB), Site(HOST, HUB)
OWN = "a password of ada's own"
GUEST = ("guest", "a password of a guest's")
# Owners as the containers have them: the ids of the account, whose root is the container's, and the ranges differ.
BELONGINGS = """
import hashlib, os, pathlib, pwd, re, stat
account = pwd.getpwnam("class")
own = {"uid": account.pw_uid, "gid": account.pw_gid}
first = {kind: int(re.search("^class:([0-9]+)", pathlib.Path(f"/etc/sub{kind}").read_text(), re.M)[1])
         for kind in ("uid", "gid")}
def mapped(kind, number):
    if number == own[kind]:
        return "root"
    return number - first[kind] + 1 if number >= first[kind] else f"{number} of the host"
os.chdir("/srv")
for top in ("class/data/groups", "class/data/shared", "class/data/users", "tao/data/notebooks"):
    for path in sorted([pathlib.Path(top), *pathlib.Path(top).rglob("*")]):
        status = path.lstat()
        content = hashlib.sha256(path.read_bytes()).hexdigest() if stat.S_ISREG(status.st_mode) else ""
        link = os.readlink(path) if path.is_symlink() else ""
        print(path, mapped("uid", status.st_uid), mapped("gid", status.st_gid), oct(status.st_mode), content, link)
"""


def variables(folder: Path, hub_base: str) -> dict[str, Any]:
    return {
        HOST: {
            **hosts.variables(hub_base),
            "jupyter_backup": {"repository": "/srv/backup", "password": "pa$$word with 'quotes' and ünïcode"},
            "jupyter_instances": [LAB, HUB],
            "jupyter_status_html": str(folder / "status.html"),
        }
    }


@pytest.fixture
def hub_base() -> Iterator[str]:
    """A host, and a server for repositories; what the hub's image is built from there."""
    testbed.down(GROUP)
    try:
        testbed.up(GROUP, [f"{HOST}=8485,8486"])
        run(
            "docker", "run", "--detach", "--init", "--name", SERVER, "--label", f"{hosts.LABEL}={GROUP}",
            "--label", f"{hosts.CHECKOUT}={hosts.HERE}", "--network", hosts.NETWORK,
            images.build("backup", parent=images.base()), "restic-rest-server", "--no-auth", "--append-only",
            "--listen=:8000", "--path=/srv",
        )  # fmt: skip
        yield testbed.push_hub_base()
    finally:
        testbed.down(GROUP)


def commands(**names: list[str]) -> list[list[str]]:
    """The page's, in their order, with its names in capitals filled in; once for each value of a name."""
    page = PAGE.read_text()
    blocks = BLOCK.findall(page)
    assert len(blocks) * 2 == page.count("```"), "every block is read"
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    for name, values in names.items():
        word = re.compile(rf"\b{name}\b")
        lines = [filled for line in lines for filled in dict.fromkeys(word.sub(value, line) for value in values)]
    assert not re.findall(r"\b[A-Z]{3,}\b", "".join(lines)), "all names are known"
    return [shlex.split(line) for line in lines]


def follow(command: list[str]) -> str:
    """As the page says: playbooks here, anything else on the host."""
    if command[0] != "ansible-playbook":
        return run_on(HOST, *command)
    done = run_playbook(command)
    assert done.code == 0, command
    return done.output


def belongings() -> list[str]:
    return run_on(HOST, "python3", "-", input_text=BELONGINGS).splitlines()


def ids() -> str:
    return run_on(HOST, "grep", "^class:", "/etc/subuid")


def work(lab: Lab, prof: Hub) -> None:
    """What a restore has to bring back, and the inventory has not."""
    lab.put("map.txt", "of the whole town")
    with Hub(CLASS.url, CLASS.ca).login("ada", "the first password of ada") as ada:
        ada.change_password("the first password of ada", OWN)
        with ada.spawn() as server:
            server.put("thesis.txt", "years of work")
            server.run("open('groups/statistics/ours.txt', 'w').write('of all of us')")
        ada.stop()
    with Hub(CLASS.url, CLASS.ca) as guest:
        guest.sign_up(*GUEST)
        prof.decide(GUEST[0], "approve")
        guest.login(*GUEST)


def lose(folder: Path) -> None:
    """The disk with the repository is moved over, to a host that has given others the first ids."""
    disk = folder / "backup.tar"
    with disk.open("wb") as stream:
        tar = ["docker", "exec", HOST, "tar", "--create", "--numeric-owner", "--directory=/srv", "backup"]
        subprocess.run(tar, stdout=stream, check=True)
    hosts.replace(HOST)
    for name in ("eve", "bob"):
        run_on(HOST, "useradd", "--create-home", name)
    with disk.open("rb") as stream:
        tar = ["docker", "exec", "--interactive", HOST, "tar", "--extract", "--numeric-owner", "--directory=/srv"]
        subprocess.run(tar, stdin=stream, check=True)


def test_the_page_brings_everything_back(hub_base: str, tmp_path: Path) -> None:
    declared = variables(tmp_path, hub_base)
    assert ansible_playbook(tmp_path, declared, "playbooks/site.yml").code == 0
    lab, prof = TAO.lab().login(TAO.secret), Hub(CLASS.url, CLASS.ca).login("prof", "professor of statistics")
    work(lab, prof)
    people, before, old_ids, token = prof.users(), belongings(), ids(), TAO.secret
    assert ansible_playbook(tmp_path, declared, "playbooks/backup.yml").code == 0
    lose(tmp_path)

    hosts_file = str(inventory(tmp_path, declared))
    for command in commands(INVENTORY=[hosts_file], HOST=[HOST], NAME=["class", "tao"], ACCOUNT=["class"]):
        if "/srv/backup/tao" in command:
            continue  # it is on a server
        if "jupyter_restore=class" in command:
            assert not re.search("thesis|map.txt", "".join(belongings()))
            for name in ("class", "tao"):
                refused = run_on(HOST, "sh", "-c", f"carrel-backup run {name} 2>&1", check=False)
                assert "has not been restored yet" in refused, "and so will cron's be"
        output = follow(command)
        if "carrel.jupyter.snapshots" in command:
            assert output.count(" whole ") == 2, "those of both are listed"
    assert ids() != old_ids, "the account has other ones here"

    assert belongings() == before
    assert TAO.secret == token
    assert lab.request("GET", "api/status", allow_redirects=False).status_code == 200, "who was logged in still is"
    assert lab.get("map.txt") == "of the whole town"
    assert prof.users() == people
    with pytest.raises(LoginError):
        Hub(CLASS.url, CLASS.ca).login("ada", "the first password of ada")
    with Hub(CLASS.url, CLASS.ca).login(*GUEST), Hub(CLASS.url, CLASS.ca).login("ada", OWN) as ada:
        with ada.spawn() as server:
            assert server.get("thesis.txt") == "years of work"
            server.put("thesis.txt", "and it goes on")
        ada.stop()
    lab.http.close()
    prof.http.close()
    again = ansible_playbook(tmp_path, declared, "playbooks/site.yml")
    assert (again.code, again.changed) == (0, 0), again.output
