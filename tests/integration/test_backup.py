# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""carrel-backup with a real restic on real files of several owners."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_runner import PLAYBOOK
from backup_site import DONE, FAILED, INCOMPLETE, LISTING, LOCKED, USAGE, Machine, Site, started

from testbed.patience import until

STRANGE = r"""
import socket
def text(name, content, mode=0o644):
    with open(name, "wb") as file: file.write(content)
    os.chmod(name, mode)
text("a.ipynb", b'{"cells": []}')
text("private", b"x", 0o600)
text("unreadable", b"x", 0)
text("executable", b"x", 0o755)
text(b"not-utf-8-\xff\xfe", b"x")
text(" leading and\nline", b"x")
text("[brackets]*?$HOME", b"x")
os.mkfifo("fifo")
socket.socket(socket.AF_UNIX).bind("socket")
os.symlink("/etc/shadow", "link")
os.symlink("/etc", "folder-link")
text("one", b"hard"); os.link("one", "two")
with open("sparse", "wb") as file: file.truncate(50_000_000)
os.makedirs("deep/er"); os.chmod("deep", 0o500)
for folder, folders, files in os.walk(b"."):
    for name in [b"", *files]: os.chown(os.path.join(folder, name), uid, gid, follow_symlinks=False)
os.chown("executable", uid + 1, gid + 1)
"""
KILL_RESTORE = """
import time
command = ["carrel-backup", "restore", "killed", "--user", "ada", "--overwrite"]
p = subprocess.Popen(command, stdout=-3, stderr=-3)
end = time.time() + 60
while not (os.path.isdir(folder := "/srv/killed/data/.restoring") and os.listdir(folder)) and time.time() < end:
    time.sleep(0.001)
time.sleep(seconds)
p.kill()
p.wait()
"""


SWAP = """
other = "/srv/swap/data/users/grace-40uni-2eexample/home/d"
for folder, text in (("d", "mine"), (other, "secret")):
    os.mkdir(folder)
    for number in range(2000):
        with open(f"{folder}/file{number}", "w") as file: file.write(text)
    subprocess.run(["chown", "-R", f"{uid}:{gid}", folder], check=True)
os.symlink("../../grace-40uni-2eexample/home/d", "link")
code = '''
import ctypes, os, time
while not os.path.exists("/srv/stop"):
    ctypes.CDLL(None).renameat2(-100, b"d", -100, b"link", 2)
    time.sleep(0.002)
'''
subprocess.Popen([sys.executable, "-c", code], stdout=-3, stderr=-3)
"""


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    with started() as machine:
        yield machine


@pytest.fixture(scope="module")
def strange(machine: Machine) -> Site:
    site = machine.site("strange")
    site.python(STRANGE)
    return site


def test_what_homes_hold_comes_back(strange: Site) -> None:
    """fifo, links to /etc, hard links, sparse, names that are not UTF-8, modes, owners; a link's target is not read."""
    before = json.loads(strange.python(LISTING))
    assert strange.backup()[0] == DONE
    owners = {node["path"]: (node["uid"], node["gid"]) for node in listed(strange, "/instance/data/users/ada/home")}
    assert owners["/instance/data/users/ada/home/a.ipynb"] == (1000, 100)
    assert owners["/instance/data/users/ada/home/executable"] == (1001, 101)
    assert not [path for path in owners if "shadow" in path]
    strange.python("import shutil; shutil.rmtree('deep'); os.unlink('a.ipynb'); open('new', 'w').close()")
    code, entry = strange.command("restore", "--user", "ada")
    assert code == FAILED and "overwrite" in entry["message"]
    code, entry = strange.command("restore", "--user", "ada", "--overwrite")
    assert (code, entry["result"]) == (DONE, "done"), entry
    after = json.loads(strange.python(LISTING))
    socket = b"socket".hex()
    assert before.pop(socket) and after == before
    sizes = strange.python("print(os.stat('sparse').st_blocks * 512 < 10_000_000, os.stat('one').st_nlink)")
    assert sizes == "True 2"
    kept = strange.machine.run("find", f"{strange.directory}/data/.kept", "-name", "new").stdout.split()
    assert len(kept) == 1, "what was there is kept"
    assert strange.machine.run("stat", "-c", "%a %u", f"{strange.directory}/data/.kept").stdout == "700 0\n"


def listed(site: Site, path: str) -> list[dict[str, object]]:
    lines = site.restic("ls", "--recursive", "--json", "latest", path).splitlines()
    return [node for node in map(json.loads, lines) if node["message_type"] == "node"]


def test_the_drill_compares_everything(strange: Site) -> None:
    code, entry = strange.command("drill")
    assert (code, entry["result"]) == (DONE, "done"), entry
    assert entry["good"]["snapshot"] == strange.snapshots()[-1]["id"]
    assert strange.machine.run("ls", f"{strange.directory}/data/.restoring").stdout == ""


def test_one_file_comes_back_as_of_then(machine: Machine) -> None:
    site = machine.site("file")
    site.python("open('notes.txt', 'w').write('first'); os.chown('notes.txt', uid, gid)")
    site.backup()
    first = site.snapshots()[0]["id"]
    site.python("open('notes.txt', 'w').write('second')")
    assert site.backup("--user", "ada")[0] == DONE
    assert [each["of"] for each in site.snapshots()] == ["whole", "user:ada"]
    restore = ("--user", "ada", "--path", "notes.txt", "--snapshot", first[:8])
    code, entry = site.command("restore", *restore)
    assert code == FAILED and "notes.txt exists" in entry["message"]
    assert site.command("restore", *restore, "--overwrite")[0] == DONE
    names = json.loads(site.python("print(json.dumps({name: open(name).read() for name in sorted(os.listdir())}))"))
    assert names.pop("notes.txt") == "first"
    assert list(names.values()) == ["second"]
    strange = ["a$HOME b", "ends with a space ", "new\nline", "st*r[x]?", "back\\slash"]
    site.python("for name in names: open(name, 'w').write(name)", names=strange)
    assert site.backup("--user", "ada")[0] == DONE
    site.python("for name in names: os.unlink(name)", names=strange)
    for name in strange:
        assert site.command("restore", "--user", "ada", "--path", name)[0] == DONE, name
    found = site.python("print(json.dumps([name for name in names if open(name).read() == name]))", names=strange)
    assert json.loads(found) == strange
    for path in ("../../grace-40uni-2eexample/home/x", "missing", "/etc/passwd"):
        assert site.command("restore", "--user", "ada", "--path", path, "--overwrite")[0] == FAILED


def test_one_file_comes_back_beside_what_is_there(machine: Machine) -> None:
    site = machine.site("beside")
    site.python("open('notes.txt', 'w').write('first'); os.chown('notes.txt', uid, gid)")
    group = f"{site.directory}/data/groups/statistics"
    machine.run("sh", "-c", f"mkdir {group}/data; echo first > {group}/data/table.csv")
    assert site.backup()[0] == DONE
    day = machine.run("date", "+%F").stdout.strip()
    listing = machine.run("carrel-backup", "folder", "beside", "--group", "statistics", "--path", "data").stdout
    assert listing.split()[0] == "6" and listing.endswith("  table.csv\n")
    for whose, path in ((("--user", "ada"), "notes.txt"), ((), "data/groups/statistics/data")):
        assert site.command("restore", *whose, "--path", path, "--beside")[0] == DONE
    assert (
        site.python(f"print(open('restored-{day}/notes.txt').read(), os.stat('restored-{day}').st_uid - uid)")
        == "first 0"
    )
    assert machine.run("cat", f"{group}/restored-{day}/data/table.csv").stdout == "first\n"
    for path in ("../../grace-40uni-2eexample/home", "missing", "notes.txt/x"):
        failed = machine.run("carrel-backup", "folder", "beside", "--user", "ada", "--path", path, check=False)
        assert failed.returncode == FAILED and "no folder" in failed.stderr, failed.stderr
    assert site.command("restore", "--user", "ada", "--beside")[0] == FAILED


def test_onto_another_host_with_another_range(machine: Machine) -> None:
    here = machine.site("here")
    here.python("open('x', 'w').write('mine'); os.chown('x', uid, gid)")
    here.backup()
    there = machine.site("there")
    assert there.first != here.first
    # the repository, and its snapshots' host, is the instance's: there, it is called the same
    machine.python(
        "settings = json.load(open('/etc/carrel/backup/here.json'))\n"
        "settings |= {key: value for key, value in json.load(open('/etc/carrel/backup/there.json')).items()\n"
        "             if key in ('account', 'directory', 'subuid', 'subgid', 'state_directory', 'run_directory')}\n"
        "json.dump(settings, open('/etc/carrel/backup/here.json', 'w'))\n"
        "subprocess.run(['chown', '-R', 'there:there', '/srv/repositories/here'], check=True)\n"
    )
    machine.run("carrel-backup", "restore", "here", "--user", "ada", check=False)
    found = there.python("s = os.stat('x'); print(s.st_uid - uid, s.st_gid - gid, open('x').read())")
    assert found == "0 0 mine"


def before_removal(site: Site, folder: Path) -> tuple[bool, str]:
    """Whether the instance would be removed after its last backup, and what Ansible printed."""
    last = {"name": "carrel.jupyter.backup", "tasks_from": "last.yml"}
    task = {"ansible.builtin.include_role": last, "vars": {"__backup_last": site.name}}
    variables = {"ansible_connection": "community.docker.docker", "ansible_python_interpreter": "/usr/bin/python3"}
    play = [{"hosts": "all", "gather_facts": False, "vars": variables, "tasks": [task]}]
    (folder / "play.json").write_text(json.dumps(play))
    command = [str(PLAYBOOK), "--inventory", f"{site.machine.name},", str(folder / "play.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode == 0, done.stdout + done.stderr


def test_what_goes_away_and_what_cannot_be_read_is_named(machine: Machine, tmp_path: Path) -> None:
    site = machine.site("named")
    site.python("open('x', 'w').close()")
    assert site.backup()[0] == DONE
    good = site.state()["backup"]["good"]
    grace = f"{site.directory}/data/users/grace-40uni-2eexample"
    machine.run("mv", grace, "/srv/elsewhere")
    # root's own file below somebody's home: the account has no power over it
    site.python("open('roots', 'w').close(); os.chmod('roots', 0o600)")
    code, entry = site.backup()
    assert (code, entry["result"]) == (INCOMPLETE, "incomplete")
    said = "\n".join(entry["warnings"])
    assert "data/users/grace-40uni-2eexample/home was in an earlier backup" in said
    assert "data/users/ada/home/roots could not be read" in said
    assert [node for node in listed(site, "/instance/data/users/ada/home") if node["name"] == "x"]
    assert entry["good"] == good and entry["taken"]["snapshot"] == site.snapshots()[-1]["id"]
    site.python("os.unlink('roots')")
    removed, printed = before_removal(site, tmp_path)
    assert not removed and "home was in an earlier backup" in printed, "it is named until it is back"
    assert "It was the last backup before named is removed" in printed, printed
    machine.run("mv", "/srv/elsewhere", grace)
    removed, printed = before_removal(site, tmp_path)
    assert removed, printed
    machine.run("mkdir", "--mode=700", f"{site.directory}/data/users/.archive")
    archived = f"{site.directory}/data/users/.archive/grace-40uni-2eexample-20300101T000000Z"
    machine.run("mv", grace, archived)
    assert site.backup()[0] == DONE, "as the site playbook does it"
    machine.run("mv", archived, grace)
    assert site.backup()[0] == DONE
    machine.run("rm", "-r", grace)
    code, entry = site.backup()
    assert code == INCOMPLETE and "carrel-backup run named --accept-missing" in entry["warnings"][-1]
    assert site.backup("--accept-missing")[0] == DONE
    code, entry = site.backup()
    assert code == DONE and entry["good"]["snapshot"] == site.snapshots()[-1]["id"]


def test_a_file_that_grows_and_a_database_with_writers(machine: Machine) -> None:
    site = machine.site("busy", database="sqlite")
    machine.python(
        "import sqlite3\n"
        "path = '/srv/busy/data/hub/jupyterhub.sqlite'\n"
        "base = sqlite3.connect(path); base.execute('CREATE TABLE t (a, b)'); base.commit(); base.close()\n"
        "subprocess.run(['chown', 'busy:busy', path], check=True)"
    )
    writer = (
        "import sqlite3, time\nend = time.time() + 8\nwhile time.time() < end:\n"
        "  base = sqlite3.connect('/srv/busy/data/hub/jupyterhub.sqlite', timeout=30)\n"
        "  with base: base.execute('INSERT INTO t VALUES (1, 1)'); base.execute('INSERT INTO t VALUES (2, 2)')\n"
        "  base.close()\n  open('/srv/busy/data/users/ada/home/grows', 'a').write('x' * 100000)\n"
    )
    starter = (
        "import sqlite3, time\n"
        "for number in range(20): subprocess.Popen([sys.executable, '-c', writer], stdout=-3, stderr=-3)\n"
        "base = sqlite3.connect('/srv/busy/data/hub/jupyterhub.sqlite', timeout=30)\n"
        "while not base.execute('SELECT count(*) FROM t').fetchone()[0]: time.sleep(0.01)"
    )
    machine.python(starter, writer=writer)
    code, entry = site.backup()
    assert (code, entry["result"]) == (DONE, "done"), entry
    site.restic("restore", "latest:/stage/database", "--target", "/srv/out")
    count = "import sqlite3; print(sqlite3.connect('/srv/out/jupyterhub.sqlite').execute(query).fetchone())"
    rows, ones = json.loads(
        machine.python(count, query="SELECT count(*), sum(a = 1) FROM t").replace("(", "[").replace(")", "]")
    )
    assert rows > 0 and rows == 2 * ones, "a copy of one moment"
    names = [node["path"] for node in listed(site, "/instance/data/hub")]
    assert "/instance/data/hub/jupyterhub.sqlite" not in names


def test_what_only_has_a_name_of_ours_is_backed_up(machine: Machine) -> None:
    site = machine.site("names", database="sqlite")
    machine.python(
        "import sqlite3\n"
        "path = '/srv/names/data/hub/jupyterhub.sqlite'\n"
        "sqlite3.connect(path).execute('CREATE TABLE t (a)')\n"
        "subprocess.run(['chown', 'names:names', path], check=True)\n"
        "os.rename('/srv/names/data/users/grace-40uni-2eexample', '/srv/names/data/users/build')"
    )
    site.python("folder = 'instance/data/hub'; os.makedirs(folder); open(f'{folder}/jupyterhub.sqlite', 'w').close()")
    site.python("open('x', 'w').close()", folder="/srv/names/data/users/build/home")
    assert site.backup()[0] == DONE
    paths = [str(node["path"]) for node in listed(site, "/instance/data")]
    assert "/instance/data/users/build/home/x" in paths
    assert [path for path in paths if path.endswith("data/hub/jupyterhub.sqlite")] == [
        "/instance/data/users/ada/home/instance/data/hub/jupyterhub.sqlite"
    ]


def test_a_link_in_place_of_a_folder_is_not_followed(machine: Machine) -> None:
    """Somebody exchanges a folder with a link to somebody else's, as fast as possible, while it is archived."""
    site = machine.site("swap")
    site.backup()
    site.python(SWAP)
    try:
        for number in range(20):  # until it was a folder when restic came by
            site.backup()
            snapshot = site.snapshots()[-1]["id"]
            site.restic("restore", f"{snapshot}:/instance/data/users/ada", "--target", f"/srv/swapped/{number}")
            if machine.run("grep", "-rlx", "mine", "/srv/swapped", check=False).stdout:
                break
        else:
            pytest.fail("it was no folder whenever restic came by")
    finally:
        machine.run("touch", "/srv/stop")
    found = machine.run("grep", "-rlx", "secret", "/srv/swapped", check=False)
    assert found.stdout == "", "somebody else's files in ada's backup"


def test_snapshots_of_the_future_displace_no_right_ones(machine: Machine) -> None:
    site = machine.site("ahead", keep={"daily": 2})
    assert site.backup()[0] == DONE
    right = site.snapshots()[0]["id"]

    def as_account(*arguments: str) -> str:
        command = ["env", "RESTIC_PASSWORD=secret", "restic", "--no-cache", "--repo=/srv/repositories/ahead"]
        return machine.run("runuser", "--user=ahead", "--", *command, *arguments).stdout

    for day in range(1, 4):
        tags = ["--tag=carrel", "--tag=on:geo1", "--tag=whole"]
        as_account("backup", "--host=ahead", *tags, f"--time=2099-01-0{day} 02:30:00", "/etc/hostname")
    for night in range(2):
        code, entry = site.backup()
        assert code == INCOMPLETE and "snapshots with later times than this one" in entry["warnings"][0]
        there = [each["id"] for each in site.snapshots()]
        assert right in there and entry["taken"]["snapshot"] in there and len(there) == 5 + night
    named = entry["warnings"][0].partition("restic forget ")[2].partition(")")[0].split()
    as_account("forget", *named)
    code, entry = site.backup()
    assert code == DONE
    # restic keeps the oldest one, too, while there are fewer days than it is to keep.
    assert [each["id"] for each in site.snapshots()] == [right, entry["taken"]["snapshot"]], "the last of this day"


def test_a_wrong_password_a_lost_repository_and_a_full_one(machine: Machine) -> None:
    site = machine.site("wrong")
    assert site.backup()[0] == DONE
    change = "s = json.load(open(path)); s.update(new); json.dump(s, open(path, 'w'))"
    machine.python(change, path="/etc/carrel/backup/wrong.secrets.json", new={"password": "another"})
    code, entry = site.backup()
    assert code == FAILED and "the password is not that of the repository" in entry["message"]
    assert "another" not in json.dumps(site.state())
    machine.python(change, path="/etc/carrel/backup/wrong.secrets.json", new={"password": "secret"})
    machine.run("mv", "/srv/repositories/wrong", "/srv/repositories/gone")
    code, entry = site.backup()
    assert code == FAILED and "though there was one" in entry["message"]
    assert entry["good"], "when the last good one was is not forgotten"
    machine.run("rm", "-r", "/srv/repositories/wrong")
    machine.run("mv", "/srv/repositories/gone", "/srv/repositories/wrong")
    machine.python(change, path="/etc/carrel/backup/wrong.json", new={"repository": "/srv/repositories/new"})
    code, entry = site.backup()
    assert code == FAILED and entry["message"].endswith("For a new one: carrel-backup run wrong --anew")
    assert site.backup("--anew")[0] == site.backup()[0] == DONE
    assert site.state()["repositories"] == ["/srv/repositories/wrong", "/srv/repositories/new"], "a purge closes both"
    machine.python(change, path="/etc/carrel/backup/wrong.json", new={"repository": "rest:http://127.0.0.1:9/x"})
    code, entry = site.backup()
    assert code == FAILED and "cannot be reached" in entry["message"]


def test_a_full_repository(machine: Machine) -> None:
    site = machine.site("full")
    machine.run("mkdir", "-p", "/srv/repositories/full")
    machine.run("mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", "/srv/repositories/full")
    machine.run("chown", "full:full", "/srv/repositories/full")
    site.python("open('big', 'wb').write(os.urandom(20_000_000))")
    code, entry = site.backup()
    assert code == FAILED and "no space left" in entry["message"]
    machine.run("umount", "/srv/repositories/full")


def test_two_at_once_and_kill_at_any_moment(machine: Machine) -> None:
    site = machine.site("killed")
    site.python(
        "for n in range(3000): open(f'f{n}', 'wb').write(os.urandom(2000))\n"
        "subprocess.run(['chown', '-R', f'{uid}:{gid}', '.'], check=True)"
    )
    code = (
        "import signal, time\n"
        "command = ['carrel-backup', 'run', 'killed']\n"
        "p = subprocess.Popen(command, stdout=-3, stderr=-3)\n"
        "while f' {p.pid} ' not in open('/proc/locks').read() and p.poll() is None: time.sleep(0.001)\n"
        "p.send_signal(signal.SIGSTOP)\n"  # it must not end before the second has begun
        "print(subprocess.run(command, stdout=-3, stderr=-3).returncode)\n"
        "p.send_signal(signal.SIGCONT)\n"
        "time.sleep(seconds)\n"
        "p.kill(); p.wait()\n"
    )
    for seconds in (0.4, 0.8, 1.2, 1.8):
        assert machine.python(code, seconds=seconds) == str(LOCKED)
        wait_for_nobody(machine)
    assert machine.run("pgrep", "-x", "restic", check=False).stdout == ""
    code_of, entry = site.backup()
    assert (code_of, entry["result"]) == (DONE, "done"), entry
    assert any(each["result"] == "interrupted" for each in site.state()["history"])
    before = json.loads(site.python(LISTING))
    for seconds in (0.5, 0.2, 0):
        machine.python(KILL_RESTORE, seconds=seconds)
        wait_for_nobody(machine)
        assert json.loads(site.python(LISTING)) == before, "never half a home"
    assert site.command("restore", "--user", "ada", "--overwrite")[0] == INCOMPLETE
    assert "were moved to" in "".join(site.state()["restore"]["warnings"])
    assert json.loads(site.python(LISTING)) == before


def wait_for_nobody(machine: Machine) -> None:
    until(lambda: not machine.run("pgrep", "-x", "restic|python3", check=False).stdout, "restic and the program end")


def test_a_lock_of_a_dead_process_goes_and_no_other(machine: Machine) -> None:
    site = machine.site("locked")
    site.backup()
    env = {"RESTIC_PASSWORD": "secret", "RESTIC_REPOSITORY": "/srv/repositories/locked", "HOME": "/root"}
    hold = (
        "import time\n"
        "def locks(): return [name for name in os.listdir('/srv/repositories/locked/locks') if 'tmp' not in name]\n"
        "for _ in range(50):\n"  # until it did not end before the look
        "  p = subprocess.Popen(['restic', '-q', 'prune'], env={**os.environ, **env}, stdout=-3, stderr=-3)\n"
        "  while not locks() and p.poll() is None: time.sleep(0.001)\n"
        "  p.send_signal(9); p.wait()\n"
        "  if locks(): break\n"
        "subprocess.run(['chown', '-R', 'locked:locked', '/srv/repositories/locked'])\n"
        "print(len(locks()))"
    )
    assert machine.python(hold, env=env) == "1"
    code, entry = site.backup()
    assert (code, entry["result"]) == (DONE, "done"), entry


def test_a_damaged_pack_turns_the_drill_red(machine: Machine) -> None:
    site = machine.site("damaged")
    machine.run("rm", "-r", "/srv/damaged/data/groups/statistics", "/srv/damaged/data/users/grace-40uni-2eexample")
    site.python(
        "open('thesis.ipynb', 'wb').write(b'{\"cells\": []}' + os.urandom(300000)); os.chown('thesis.ipynb', uid, gid)"
    )
    assert site.backup()[0] == DONE
    damage = (
        "import glob\n"
        "packs = sorted(glob.glob('/srv/repositories/damaged/data/*/*'), key=os.path.getsize)\n"
        "with open(packs[-1], 'r+b') as f: f.seek(1000); f.write(b'damage')"
    )
    machine.python("subprocess.run('chmod -R u+w /srv/repositories/damaged', shell=True)\n" + damage)
    for _unused in range(20):  # the drill chooses at random
        code, entry = site.command("drill")
        if "user ada" in entry["message"]:
            break
    assert code == FAILED and entry["result"] == "failed"
    assert "the user ada" in entry["message"] and "thesis.ipynb" in entry["message"]


def test_an_append_only_server(machine: Machine) -> None:
    site = machine.site("append", repository="rest:http://127.0.0.1:8000/append/", append_only=True)
    server = ["restic-rest-server", "--no-auth", "--append-only", "--listen=127.0.0.1:8000", "--path=/srv/rest"]
    machine.python(
        "import socket, time\n"
        "subprocess.Popen(server, stdout=-3, stderr=-3)\n"
        "for _ in range(100):\n"
        "  try: socket.create_connection(('127.0.0.1', 8000)).close(); break\n"
        "  except OSError: time.sleep(0.05)",
        server=server,
    )
    site.python("open('x', 'w').write('mine'); os.chown('x', uid, gid)")
    assert site.backup()[0] == DONE
    assert site.backup()[0] == DONE
    assert len(site.snapshots()) == 2
    machine.run("rm", f"{site.home}/x")
    assert site.command("restore", "--user", "ada", "--path", "x")[0] == DONE
    forget = "RESTIC_PASSWORD=secret restic --no-cache -r rest:http://127.0.0.1:8000/append/ forget latest"
    machine.run("sh", "-c", forget, check=False)
    assert len(site.snapshots()) == 2
    removed(site)
    site.python("open('x', 'w').write('the namesake'); os.chown('x', uid, gid)")
    assert site.backup("--anew")[0] == site.backup()[0] == DONE, "old snapshots need not be changed"
    site.python("os.unlink('x')")
    assert site.command("restore", "--user", "ada", "--path", "x")[0] == DONE
    assert site.python("print(open('x').read())") == "the namesake"


def removed(site: Site) -> str:
    """What instance_archive does with the state of the backups; returns the place in the archive."""
    return site.machine.python(
        "import shutil; os.makedirs(archive := f'/srv/.archive/{name}/.backup')\n"
        "for file in ('state.json', 'leaves.json'):\n"
        "  shutil.move(f'/var/lib/carrel/{name}/backup/{file}', archive)\n"
        "print(archive)",
        name=site.name,
    )


def test_an_instance_with_the_name_of_a_removed_one_does_not_continue_its_backups(machine: Machine) -> None:
    site = machine.site("again", keep={"daily": 1})
    site.python("open('x', 'w').write('the old course'); os.chown('x', uid, gid)")
    assert site.backup()[0] == DONE
    old = site.snapshots()[0]["id"]
    archive = removed(site)
    site.python("open('x', 'w').write('the new one')")
    code, entry = site.backup()
    assert code == FAILED and "--anew" in entry["message"]
    code, entry = site.command("drill")
    assert code == FAILED and "perhaps of a removed instance" in entry["message"]
    assert site.backup("--anew")[0] == site.backup()[0] == DONE
    kept = site.snapshots()
    assert len(kept) == 2 and kept[0]["id"] == old, "each series is thinned out by itself"
    code, entry = site.command("drill")
    assert code == DONE and entry["good"]["snapshot"] == kept[1]["id"]
    # the old one comes back
    machine.run("mv", archive, site.directory)
    code, entry = site.command("restore", "--user", "ada", "--path", "x", "--overwrite")
    assert code == DONE and site.python("print(open('x').read())") == "the old course"
    assert site.backup()[0] == DONE and site.state()["series"] is None
    assert machine.run("ls", "-A", f"{site.directory}/.backup").stdout == ""


def test_a_repository_that_a_purge_took_belongs_to_the_account_that_returns(machine: Machine) -> None:
    site = machine.site("purged")
    site.python("open('x', 'w').write('mine'); os.chown('x', uid, gid)")
    assert site.backup()[0] == DONE
    repository = "/srv/repositories/purged"
    assert site.state()["repositories"] == [repository]
    # purged, and set up again with another uid: the files in it belong to the former one, or to somebody else by now
    machine.run("sh", "-c", f"chown -R 54321:54321 {repository}; chown root:root {repository}")
    machine.run("rm", f"{site.home}/x")
    assert site.command("restore", "--user", "ada", "--path", "x")[0] == DONE
    assert site.backup()[0] == DONE


def test_wrong_use_touches_nothing(machine: Machine) -> None:
    for command in (["run", "nobody"], ["run", "../etc"], ["run"]):
        assert machine.run("carrel-backup", *command, check=False).returncode == USAGE
