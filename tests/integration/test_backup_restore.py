# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Restores of groups and whole instances, onto other accounts with other ranges of ids, too; and what may go wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from backup_site import DONE, FAILED, INCOMPLETE, LISTING, Machine, Site, started

MOVE = """
settings = json.load(open(f"/etc/carrel/backup/{here}.json"))
keys = ("account", "directory", "subuid", "subgid", "state_directory", "run_directory")
other = json.load(open(f"/etc/carrel/backup/{there}.json"))
settings |= {"host": "geo2", **{key: other[key] for key in keys}}
json.dump(settings, open(f"/etc/carrel/backup/{here}.json", "w"))
subprocess.run(["chown", "-R", f"{there}:{there}", f"/srv/repositories/{here}"], check=True)
"""
# The directories of a lab, as the role makes them; its server's secrets belong to an id of the container.
LAB = """
import shutil
shutil.rmtree(f"{directory}/data")
os.chdir(directory)
for path, mode, owner, group in (("data", 0o711, 0, 0), ("data/notebooks", 0o750, uid, gid), ("server", 0o755, 0, 0)):
    os.mkdir(path); os.chown(path, owner, group); os.chmod(path, mode)
config = json.dumps({"ServerApp": {"ip": secret, "password": secret}})
os.makedirs("/srv/tokens", exist_ok=True)
for path, text, owner in (("server/cookie_secret", secret, uid), ("server/jupyter_server_config.json", config, uid),
                          ("token", secret, uid - 1000), ("/srv/tokens/lab", secret, uid - 1000)):
    with open(path, "w") as stream: stream.write(text)
    os.chown(path, owner, owner); os.chmod(path, 0o400)
"""
HUB = """
import sqlite3
os.makedirs(f"{directory}/hub", exist_ok=True)
users = {"ada": {"identity": "ada@uni", "since": since}, "grace@uni.example": {"identity": secret, "since": 0}}
for path, text in (("hub/secrets.json", json.dumps({"cookie_secret": secret, "database_password": secret})),
                   ("hub/identities.json", json.dumps({"version": 1, "users": users}))):
    with open(f"{directory}/{path}", "w") as stream: stream.write(text)
database = f"{directory}/data/hub/jupyterhub.sqlite"
base = sqlite3.connect(database)
with base: base.execute("CREATE TABLE users (name)"); base.execute("INSERT INTO users VALUES (?)", (secret,))
base.close()
subprocess.run(["chown", "-R", f"{account}:{account}", f"{directory}/data/hub", f"{directory}/hub"], check=True)
"""
PARTS = """
for name, file in (("scratch", "x"), ("cache", "x"), ("home", "thesis")):
    folder = f"{directory}/data/users/ada/{name}"
    os.makedirs(folder, exist_ok=True)
    open(f"{folder}/{file}", "w").close()
    subprocess.run(["chown", "-R", f"{uid}:{gid}", folder], check=True)
other = f"{directory}/data/users/grace-40uni-2eexample/home"
os.chown(other, 5, 5)  # of an account that has nothing to do with the instance
os.symlink("/etc", f"{directory}/data/old")
"""
FILL = """
import time
p = subprocess.Popen(["carrel-backup", "restore", name, "--user", "ada", "--overwrite"], stdout=-3, stderr=-3)
beside = f"{directory}/data/.restoring"
while not (os.path.isdir(beside) and os.listdir(beside)) and p.poll() is None: time.sleep(0.001)
with open(f"{directory}/data/filler", "wb", buffering=0) as stream:
    try:
        while stream.write(b"x" * 2**16): pass
    except OSError: pass
print(p.wait())
"""
# A kill -9 by itself at the moment when it begins a step.
KILL = """
program = '''
import os, signal, sys
sys.path.insert(0, "/usr/local/lib/carrel")
from carrel_backup import __main__, state
step = state.State.step
def stepped(self, name, message):
    step(self, name, message)
    if name == sys.argv[1]: os.kill(os.getpid(), signal.SIGKILL)
state.State.step = stepped
__main__.main(sys.argv[2:])
'''
print(subprocess.run([sys.executable, "-I", "-c", program, step, *command], stdout=-3, stderr=-3).returncode)
"""


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    with started() as machine:
        yield machine


def test_a_group_comes_back_and_nobody_else(machine: Machine) -> None:
    site = machine.site("group")
    folder = f"{site.directory}/data/groups/statistics"
    site.python("open('x', 'w').write('mine'); os.chown('x', uid, gid)")
    site.python("open('g', 'w').write('ours'); os.chown('g', uid + 1, gid)", folder=folder)
    site.backup()
    site.python("os.unlink('g'); open('newer', 'w').close()", folder=folder)
    site.python("open('x', 'w').write('changed')")
    code, entry = site.command("restore", "--group", "statistics")
    assert code == FAILED and "overwrite" in entry["message"]
    assert site.command("restore", "--group", "statistics", "--overwrite")[0] == DONE
    found = site.python(
        "s = os.stat('g'); d = os.stat('.')\n"
        "print(os.listdir(), open('g').read(), s.st_uid - uid, s.st_gid - gid, oct(d.st_mode), d.st_uid - uid)",
        folder=folder,
    )
    assert found == "['g'] ours 1 0 0o42770 0"
    assert site.python("print(open('x').read())") == "changed"
    kept = machine.run("find", f"{site.directory}/data/.kept", "-name", "newer").stdout
    assert kept.strip().endswith("data/groups/statistics/newer")
    code, entry = site.command("restore", "--group", "nobody")
    assert code == FAILED and "has nothing of nobody" in entry["message"]


def test_a_whole_lab_onto_another_range(machine: Machine) -> None:
    here, there = machine.site("lab", kind="lab", token_file="/srv/tokens/lab"), machine.site("lab-there", kind="lab")
    here.python(LAB, secret="of then")
    notebooks = f"{here.directory}/data/notebooks"
    here.python("open('map.ipynb', 'w').write('{}'); os.chown('map.ipynb', uid, gid)", folder=notebooks)
    assert here.backup()[0] == DONE
    there.python(LAB, secret="of now")
    machine.python(MOVE, here=here.name, there=there.name)
    assert machine.run("carrel-backup", "run", here.name, check=False).returncode == FAILED
    assert last(there, "backup")["message"].startswith("the repository has backups of it")
    assert machine.run("carrel-backup", "restore", here.name, check=False).returncode == DONE, last(there, "restore")
    found = there.python(
        "secrets = ('server/cookie_secret', 'server/jupyter_server_config.json', 'token', '/srv/tokens/lab')\n"
        "for path in ('data/notebooks', 'data/notebooks/map.ipynb', *secrets):\n"
        "  s = os.stat(path); print(path, s.st_uid - uid, oct(s.st_mode & 0o777))\n"
        "for path in secrets: print(' '.join(open(path).read().split()))",
        folder=there.directory,
    )
    assert found.splitlines() == [
        "data/notebooks 0 0o750",
        "data/notebooks/map.ipynb 0 0o644",
        "server/cookie_secret 0 0o400",
        "server/jupyter_server_config.json 0 0o400",
        "token -1000 0o400",
        "/srv/tokens/lab -1000 0o600",
        "of then",
        '{ "ServerApp": { "ip": "of now", "password": "of then" } }',
        "of then",
        "of then",
    ]
    assert machine.run("carrel-backup", "run", here.name, check=False).returncode == DONE, "it goes on from here"


def test_a_whole_hub_onto_another_range(machine: Machine) -> None:
    here, there = machine.site("hub", database="sqlite"), machine.site("hub-there", database="sqlite")
    here.python(HUB, secret="then", account="hub", since=1700000000)
    there.python(HUB, secret="now", account="hub-there", since=0)
    here.python("open('thesis', 'w').write('mine'); os.chown('thesis', uid, gid)")
    there.python("open('newer', 'w').close()")
    assert here.backup()[0] == DONE
    machine.python(MOVE, here=here.name, there=there.name)
    for more, code in ([], FAILED), (["--overwrite"], INCOMPLETE):
        done = machine.run("carrel-backup", "restore", here.name, *more, check=False)
        assert done.returncode == code, last(there, "restore")
    assert last(there, "restore")["warnings"] == [
        "data/users/grace-40uni-2eexample/home in the snapshot is of somebody else who had the name before, so it was"
        " not restored: if both are one person, see docs/howto/leaving.md"
    ], "grace@uni.example is `now` here, and was `then`"
    found = there.python(
        "import sqlite3\n"
        "for path in (home, f'{home}/thesis', 'data/groups/statistics', 'data/hub/jupyterhub.sqlite'):\n"
        "  print(os.stat(path).st_uid - uid)\n"
        "print(os.listdir(home), sqlite3.connect(path).execute('SELECT name FROM users').fetchall())\n"
        "print(json.load(open('hub/secrets.json')))\n"
        "users = json.load(open('hub/identities.json'))['users']\n"
        "print(users['ada']['since'], users['grace@uni.example']['since'] > 1700000000)\n"
        "print(os.stat('hub/identities.json').st_uid, oct(os.stat('hub/identities.json').st_mode))",
        folder=there.directory,
        home=there.home,
    )
    assert found.splitlines() == [
        "0", "0", "0", "-1000", "['thesis'] [('then',)]", "{'cookie_secret': 'then', 'database_password': 'now'}",
        "1700000000 True", "0 0o100640",
    ]  # fmt: skip
    kept = machine.run("find", f"{there.directory}/data/.kept", "-name", "newer").stdout
    assert len(kept.splitlines()) == 1


def test_one_part_that_a_snapshot_lacks_keeps_no_other_back(machine: Machine) -> None:
    site = machine.site("parts", database="sqlite", exclude=["scratch", "cache/*"])
    site.python(HUB, secret="then", account="parts", since=0)
    site.python(PARTS)
    code, entry = site.backup()
    assert code == INCOMPLETE and "could not be read" in "".join(entry["warnings"])
    site.python("os.unlink('thesis'); open('newer', 'w').close()")
    change = "import sqlite3\nbase = sqlite3.connect(path)\nwith base: base.execute('DELETE FROM users')\n"
    machine.python(change, path="/srv/parts/data/hub/jupyterhub.sqlite")
    code, entry = site.command("restore", "--overwrite")
    assert code == INCOMPLETE, entry
    said = sorted(warning.partition(", so")[0] for warning in entry["warnings"])
    assert said == [
        "data/old is not a directory in the snapshot",
        "data/users/ada/scratch is not in the snapshot",
        "data/users/grace-40uni-2eexample/home is not in the snapshot",
    ]
    found = site.python(
        "import sqlite3\n"
        "print(os.listdir(), os.listdir('../cache'), os.listdir('../scratch'), os.readlink(f'{directory}/data/old'))\n"
        "base = sqlite3.connect(f'{directory}/data/hub/jupyterhub.sqlite')\n"
        "print(base.execute('SELECT name FROM users').fetchall())"
    )
    assert found.splitlines() == ["['thesis'] [] ['x'] /etc", "[('then',)]"]
    code, entry = site.command("restore", "--user", "grace@uni.example", "--overwrite")
    assert code == FAILED and "has nothing of data/users/grace-40uni-2eexample/home" in entry["message"]
    assert machine.run("ls", f"{site.directory}/data/.restoring").stdout == ""
    for user, missing in (("ada", "ada/scratch"), ("grace@uni.example", "grace-40uni-2eexample/home")):
        code, entry = site.command("drill", "--user", user)
        assert code == FAILED and f"data/users/{missing}: it is not in the snapshot" in entry["message"], entry
    assert site.command("drill", "--group", "statistics")[0] == DONE


def test_no_pattern_leaves_out_what_a_restore_must_know(machine: Machine) -> None:
    site = machine.site("patterns", database="sqlite", exclude=["hub", "*.json", "*.sqlite", "stage", "scratch"])
    site.python(HUB, secret="then", account="patterns", since=1700000000)
    listed = "/srv/patterns/data/hub/roster-listed.json"
    machine.python("open(path, 'w').write('{}')", path=listed)
    site.python("[open(name, 'w').close() for name in ('a.json', 'thesis')]")
    assert site.backup()[0] == DONE
    machine.run("rm", listed, "/srv/patterns/hub/identities.json")
    site.python("[os.unlink(name) for name in os.listdir()]")
    code, entry = site.command("restore", "--overwrite")
    assert code == DONE, entry
    assert machine.run("cat", listed).stdout == "{}"
    assert "1700000000" in machine.run("cat", "/srv/patterns/hub/identities.json").stdout
    assert site.python("print(os.listdir())") == "['thesis']", "people's files are left out"
    assert "jupyterhub.sqlite" not in site.restic("ls", "latest", "/").split("/instance/data/hub", 1)[1]


def last(site: Site, command: str) -> dict[str, Any]:
    found: dict[str, Any] = site.state()[command]
    return found


def test_the_disk_at_the_target_is_full(machine: Machine) -> None:
    """It fills up after the look at what is free, as people work on it meanwhile."""
    site = machine.site("fills")
    with site.on_disk(80):
        site.python("for n in range(20): open(f'f{n}', 'wb').write(os.urandom(1_000_000)); os.chown(f'f{n}', uid, gid)")
        assert site.backup()[0] == DONE
        before = site.python(LISTING)
        assert site.python(FILL, name=site.name) == str(FAILED)
        message = last(site, "restore")["message"]
        assert ("could not be restored" in message and "no space left" in message) or "too little free" in message
        assert site.python(LISTING) == before
        assert machine.run("ls", f"{site.directory}/data/.restoring").stdout == "", "what was fetched is gone"
        machine.run("rm", f"{site.directory}/data/filler")
        assert site.command("restore", "--user", "ada", "--overwrite")[0] == DONE
        assert site.python(LISTING) == before


def test_kill_at_each_step(machine: Machine) -> None:
    site = machine.site("steps", database="sqlite")
    site.python(HUB, secret="x", account="steps", since=0)
    site.python("open('a', 'w').write('mine'); os.chown('a', uid, gid)")
    before = site.python(LISTING)

    def kill(step: str, *command: str) -> None:
        assert machine.python(KILL, step=step, command=[command[0], site.name, *command[1:]]) == "-9", step
        assert site.python(LISTING) == before
        history.insert(0, f"interrupted at step {step}")

    history: list[str] = []
    for step in ("database", "manifest", "snapshot", "forget"):
        kill(step, "run")
    assert site.backup()[0] == DONE
    for step in ("restore", "place"):
        kill(step, "restore", "--user", "ada", "--overwrite")
    code, entry = site.command("restore", "--user", "ada", "--overwrite")
    assert code == INCOMPLETE and "files of an interrupted restore were moved to" in entry["warnings"][0]
    assert site.python(LISTING) == before
    for step in ("drill", "restore", "database", "compare", "shadow"):
        kill(step, "drill", "--user", "ada")
    code, entry = site.command("drill", "--user", "ada")
    assert (code, entry["result"]) == (DONE, "done"), entry
    assert machine.run("ls", f"{site.directory}/data/.restoring").stdout == ""
    said = [each["message"] for each in site.state()["history"] if each["result"] == "interrupted"]
    assert said == history
    assert json.loads(machine.run("carrel-backup", "snapshots", site.name, "--json").stdout)
