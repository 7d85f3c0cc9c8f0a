# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes over in a move, between two accounts with other ranges of ids, without engines."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from backup_site import DONE, INCOMPLETE, LOCKED, Machine, Site, started
from test_backup import LISTING, STRANGE
from test_backup_restore import LAB

SECRETS = """
os.makedirs(f"{directory}/hub", 0o711, exist_ok=True)
owner = os.stat(f"{directory}/data/hub").st_uid
with open(f"{directory}/hub/secrets.json", "w") as stream: stream.write('{"cookie_secret": "abc"}')
os.chown(f"{directory}/hub/secrets.json", owner, owner); os.chmod(f"{directory}/hub/secrets.json", 0o600)
import sqlite3
with sqlite3.connect(f"{directory}/data/hub/jupyterhub.sqlite") as database:
    database.execute("create table if not exists users (name)"); database.execute("insert into users values ('ada')")
os.chown(f"{directory}/data/hub/jupyterhub.sqlite", owner, owner)
"""


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    with started() as machine:
        yield machine


class Side:
    """One of the two hosts: here they are two directories and accounts of one container."""

    def __init__(self, site: Site, label: str, kind: str = "hub") -> None:
        self.site, self.label = site, label
        state, ids = f"/var/lib/carrel/{site.name}/move", {"start": site.first, "count": 65536}
        self.settings: dict[str, Any] = {
            "version": 1, "name": "moving", "kind": kind, "host": label, "account": site.name,
            "directory": site.directory, "socket": "/run/none.sock", "state_directory": state,
            "run_directory": f"/run/carrel/move/{site.name}", "repository": f"{state}/repository", "subuid": ids,
            "subgid": ids, "token_file": None, "exclude": [], "keep": {}, "append_only": False,
            "deadline_seconds": 300, "password": "made", "environment": {},
        }  # fmt: skip

    def step(self, step: str, **given: Any) -> dict[str, Any]:
        done = self.site.machine.run("carrel-backup", "move", step, text=self.given(given), check=False)
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def given(self, given: dict[str, Any]) -> str:
        return json.dumps({"settings": self.settings, "from": "old", "to": "new", "here": self.label, **given})


def carry(old: Side, new: Side, have: list[str], place: bool = False) -> list[str]:
    sent = old.step("send", hold=False, snapshot=True, have=have, owner="0")
    new.step("receive", pack=sent["pack"], more=sent["more"], snapshot=sent["snapshot"], place=place)
    found: list[str] = sent["have"]
    return found


def test_an_instance_arrives_as_it_was(machine: Machine) -> None:
    """Owners, modes, links, sparse files, names, secrets and the database; also what changed between two copies."""
    old = Side(machine.site("leaving", database="sqlite"), "old")
    new = Side(machine.site("arriving", database="sqlite"), "new")
    old.site.python(STRANGE + SECRETS)
    new.site.python("open('before', 'w').close()")
    assert old.site.backup("--anew")[0] == DONE
    old.settings["password"] = new.settings["password"] = old.step("begin")["password"]
    have = carry(old, new, new.step("begin")["have"])
    assert new.site.python("print(os.listdir())") == "['before']", "nothing is in place yet"
    # The new host's own backups have their jobs already.
    assert new.site.backup()[0] == INCOMPLETE, "it has no database yet"
    assert new.site.command("restore", "--user", "ada", "--path", "before", "--overwrite")[0] == DONE
    assert new.site.command("drill")[0] == LOCKED
    old.site.python(
        "os.unlink('a.ipynb'); open('later', 'w').close(); os.chown('later', uid, gid)\n"
        "for name, text in (('two', 'HARD'), (b'not-utf-8-\\xff\\xfe', 'X')):\n"  # of the same size
        "  times = os.stat(name).st_mtime_ns\n"
        "  with open(name, 'w') as file: file.write(text)\n"
        "  os.utime(name, ns=(times, times))"
    )
    # A step that is killed is done again.
    command = ["docker", "exec", "--interactive", machine.name, "timeout", "--signal=KILL", "0.3", "carrel-backup"]
    given = old.given({"hold": False, "snapshot": True, "have": have, "owner": "0"})
    subprocess.run([*command, "move", "send"], input=given, text=True, check=False, capture_output=True)
    carry(old, new, have, place=True)

    before, after = (json.loads(side.site.python(LISTING)) for side in (old, new))
    moved = {
        name: [in_container(old, facts[0]), in_container(old, facts[1]), *facts[2:]] for name, facts in before.items()
    }
    came = {
        name: [in_container(new, facts[0]), in_container(new, facts[1]), *facts[2:]] for name, facts in after.items()
    }
    assert moved.pop(b"socket".hex()) and came == moved
    assert b"a.ipynb".hex() not in came and came[b"later".hex()][0] == 1000
    assert new.site.python("print(os.stat('sparse').st_blocks * 512 < 10_000_000, os.stat('one').st_nlink)") == "True 2"
    look = """
import sqlite3
print(sqlite3.connect(f"{directory}/data/hub/jupyterhub.sqlite").execute("select name from users").fetchall())
print(open(f"{directory}/hub/secrets.json").read(), os.stat(f"{directory}/hub/secrets.json").st_uid)
folder = os.stat(f"{directory}/hub")
print(folder.st_uid, folder.st_gid, oct(folder.st_mode & 0o7777))
"""
    account = new.site.first - 1
    expected = f'[(\'ada\',)]\n{{"cookie_secret": "abc"}} {account}\n0 {account} 0o750'
    assert new.site.python(look) == expected, "its folder, too, is as the role hub makes it"
    kept = machine.run("find", f"{new.site.directory}/data/.kept", "-name", "before").stdout.split()
    assert len(kept) == 1, "what was there is kept"
    new.step("settle")
    state = new.site.state()
    assert state["series"] and state["series"] == old.site.state()["series"] and state["past"] == ["old"]
    for side in (old, new):
        side.step("finish")
        state = side.settings["state_directory"]
        assert machine.run("test", "!", "-e", state, check=False).returncode == 0
    assert machine.run("ls", f"{new.site.directory}/data/.restoring").stdout == ""
    before = new.site.state()
    for step in ("settle", "finish"):  # as in another run of the playbook
        new.step(step)
    assert new.site.state() == before


def test_what_signs_a_labs_cookies_arrives_before_the_lab_is_set_up(machine: Machine) -> None:
    old, new = Side(machine.site("lab-leaving"), "old", "lab"), Side(machine.site("lab-arriving"), "new", "lab")
    old.site.python(LAB, secret="of then")
    old.settings["password"] = new.settings["password"] = old.step("begin")["password"]
    carry(old, new, new.step("begin")["have"])
    look = """
for path in ("server/cookie_secret", "server/jupyter_server_config.json", "token"):
    print(path, os.stat(path).st_uid - uid, " ".join(open(path).read().split()))
"""
    here, there = (side.site.python(look, folder=side.site.directory) for side in (old, new))
    assert there == here and there.count("of then") == 4


def in_container(side: Side, number: int) -> int:
    return number - side.site.first + 1


def test_another_move_of_it_is_refused(machine: Machine) -> None:
    old = Side(machine.site("twice"), "old")
    old.step("begin")
    done = machine.run("carrel-backup", "move", "begin", text=old.given({"to": "third"}), check=False)
    assert done.returncode == 1 and "from old to new has not ended" in done.stderr
