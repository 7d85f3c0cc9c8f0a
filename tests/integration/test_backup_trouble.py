# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Restores from a damaged repository, of odd files, onto disks of their own, and after the wrong disk was mounted."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from backup_site import DONE, FAILED, INCOMPLETE, LISTING, Machine, Site, started

DAMAGE = """
import glob
subprocess.run(["chmod", "-R", "u+w", repository], check=True)
packs = sorted(glob.glob(f"{repository}/data/*/*"), key=os.path.getsize)
with open(packs[which], "r+b") as stream:
    stream.seek(1000)
    stream.write(b"damage")
"""
# Removes the pack with what is in a folder of the last snapshot.
TREES = """
import glob
restic = ["restic", "--no-lock", "--no-cache", "--json", "-r", repository]
def ask(*arguments):
    environment = {**os.environ, "RESTIC_PASSWORD": "secret"}
    return json.loads(subprocess.run([*restic, *arguments], env=environment, capture_output=True, check=True).stdout)
snapshot = ask("cat", "snapshot", ask("snapshots")[-1]["id"])
tree, path = snapshot["tree"], folder.strip("/").split("/")
for name in path:
    tree = next(node["subtree"] for node in ask("cat", "blob", tree)["nodes"] if node["name"] == name)
for index in glob.glob(f"{repository}/index/*"):
    for pack in ask("cat", "index", os.path.basename(index))["packs"]:
        if any(blob["id"] == tree for blob in pack["blobs"]):
            blob = next(blob for blob in pack["blobs"] if blob["id"] == tree)
            path = f"{repository}/data/{pack['id'][:2]}/{pack['id']}"
            os.chmod(path, 0o600)
            with open(path, "r+b") as stream:
                stream.seek(blob["offset"] + 20)
                stream.write(b"damage")
            print(path)
"""
# A path that fits where it is and where restic reads it, and not below the longer name of the tree of a restore.
DEEP = """
home = os.getcwd()
above = f"{directory}/data/users/ada/home"
parts = []
while len(above) + sum(len(part) + 1 for part in parts) < 3800: parts.append("d" * 200)
for part in parts:
    os.mkdir(part); os.chown(part, uid, gid); os.chdir(part)
name = "n" * (4060 - len(above) - sum(len(part) + 1 for part in parts) - 1)
with open(name, "w") as stream: stream.write("deep")
os.chown(name, uid, gid)
os.chdir(home)
"""


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    with started() as found:
        yield found


def write(site: Site) -> None:
    """A large file, whose data is in a pack of its own, and a small one."""
    site.python(
        "for name, size in (('thesis', 5_000_000), ('notes', 10)):\n"
        "  with open(name, 'wb') as stream: stream.write(os.urandom(size))\n"
        "  os.chown(name, uid, gid)"
    )


def restore(site: Site, *options: str) -> tuple[int, str, list[str]]:
    code, entry = site.command("restore", "--overwrite", *options)
    return code, entry["message"], entry["warnings"]


def assert_nothing_is_left(site: Site) -> None:
    assert site.machine.run("ls", f"{site.directory}/data/.restoring").stdout == ""


@pytest.mark.parametrize("whole", [True, False])
def test_one_damaged_file_keeps_nothing_else_back_once_that_is_accepted(machine: Machine, whole: bool) -> None:
    site = machine.site(f"pack-{str(whole).lower()}")
    write(site)
    assert site.backup()[0] == DONE
    site.python("open('notes', 'w').write('changed')")
    before = site.python(LISTING)
    machine.python(DAMAGE, repository=f"/srv/repositories/{site.name}", which=-1)
    part = [] if whole else ["--user", "ada"]
    code, message, _unused = restore(site, *part)
    assert code == FAILED and "home/thesis: " in message and "--accept-damaged" in message, message
    assert site.python(LISTING) == before
    assert_nothing_is_left(site)
    code, message, warnings = restore(site, *part, "--accept-damaged")
    assert code == INCOMPLETE and any("not restored: " in each and "home/thesis: " in each for each in warnings), (
        warnings
    )
    assert site.python("print(os.listdir(), os.path.getsize('notes'))") == "['notes'] 10", "no file with holes"
    code, entry = site.command("drill", "--user", "ada")
    assert code == FAILED and "thesis" in entry["message"] and "accept" not in entry["message"], entry


def test_a_damaged_folder_keeps_nothing_else_back_once_that_is_accepted(machine: Machine) -> None:
    """Where restic keeps what is in the folders; it cannot even list them."""
    site = machine.site("folders")
    write(site)
    assert site.backup()[0] == DONE
    site.python("for n in range(50): os.mkdir(f'{n:0200}'); os.chown(f'{n:0200}', uid, gid)")
    assert site.backup()[0] == DONE
    before = site.python(LISTING)
    packs = machine.python(TREES, repository=f"/srv/repositories/{site.name}", folder="/instance/data/users/ada")
    assert packs
    machine.run("rm", "-r", "/var/lib/carrel/folders/backup/cache")  # as after a loss
    code, message, _unused = restore(site)
    assert code == FAILED and "--accept-damaged" in message, message
    assert site.python(LISTING) == before
    code, message, warnings = restore(site, "--accept-damaged")
    assert code == INCOMPLETE, message
    assert any("the size is not known" in each for each in warnings), warnings
    assert any("not restored: instance/data/users/ada" in each for each in warnings), warnings
    assert machine.run("ls", f"{site.directory}/data/users").stdout.split() == ["ada", "grace-40uni-2eexample"]


def test_a_path_that_is_too_long_beside_keeps_nothing_else_back(machine: Machine) -> None:
    site = machine.site("deep")
    write(site)
    site.python(DEEP)
    code, entry = site.backup()
    assert code == DONE, entry
    site.python("os.unlink('notes')")
    code, message, _unused = restore(site, "--user", "ada")
    assert code == FAILED and "1 paths are too long" in message and "--accept-damaged" in message, message
    code, message, warnings = restore(site, "--user", "ada", "--accept-damaged")
    assert code == INCOMPLETE and any("file name too long" in each for each in warnings), warnings
    assert site.python("print(os.path.getsize('notes'), os.path.getsize('thesis'))") == "10 5000000"


@pytest.mark.parametrize("kind", ["sparse", "linked"])
def test_sparse_and_linked_files_are_restored_where_there_is_room_for_what_they_have(
    machine: Machine, kind: str
) -> None:
    site = machine.site(kind)
    with site.on_disk(80):
        write(site)
        if kind == "linked":
            site.python("for n in range(20): os.link('thesis', f'link-{n}')")
        else:
            site.python("open('disk.img', 'w').truncate(1 << 30); os.chown('disk.img', uid, gid)")
        assert site.backup()[0] == DONE
        before = site.python(LISTING)
        code, message, _unused = restore(site, "--user", "ada")
        assert code == FAILED and "if it is sparse or linked" in message and "--accept-size" in message, message
        assert kind == "linked" or "home/disk.img with 1.0 GiB" in message
        code, message, _unused = restore(site, "--user", "ada", "--accept-size")
        assert code == DONE, message
        assert site.python(LISTING) == before
        if kind == "linked":
            assert site.python("print(os.stat('thesis').st_nlink)") == "21"
        else:
            assert site.python("print(os.stat('disk.img').st_blocks < 100)") == "True"


def test_a_file_that_is_not_sparse_does_not_take_the_room_of_people(machine: Machine) -> None:
    """Whoever accepts the size may be wrong: restic ends before the disk is full."""
    site = machine.site("dense")
    with site.on_disk(300):
        site.python(
            "with open('thesis', 'wb') as stream:\n  for n in range(160): stream.write(os.urandom(1_000_000))\n"
            "os.chown('thesis', uid, gid)"
        )
        assert site.backup()[0] == DONE
        code, message, _unused = restore(site, "--user", "ada", "--accept-size")
        assert code == FAILED and ("too little free space" in message or "no space left" in message), message
        assert site.python("print(os.path.getsize('thesis'))") == "160000000"
        assert_nothing_is_left(site)


def test_a_disk_of_its_own_below_the_data_is_refused_before_anything_is_touched(machine: Machine) -> None:
    site = machine.site("disk", database="sqlite")
    machine.python(
        "import sqlite3\nbase = sqlite3.connect(path)\nwith base: base.execute('CREATE TABLE users (name)')\n"
        "os.chown(path, os.stat(os.path.dirname(path)).st_uid, 0)",
        path=f"{site.directory}/data/hub/jupyterhub.sqlite",
    )  # fmt: skip
    write(site)
    users = f"{site.directory}/data/users"
    machine.run("sh", "-c", f"mkdir /srv/aside && cp -a {users}/. /srv/aside && chmod 751 /srv/aside")
    with machine.mounted(users, "--bind", "/srv/aside"):
        assert site.backup()[0] == DONE
        site.python("os.unlink('notes')")
        before = site.python(LISTING, folder=f"{site.directory}/data")
        for options in [], ["--user", "ada"], ["--user", "ada", "--path", "notes"]:
            code, message, _unused = restore(site, *options)
            assert code == FAILED and "is on another mount than" in message, message
        code, entry = site.command("drill", "--user", "ada")
        assert code == FAILED and "is on another mount than" in entry["message"], entry
        assert site.python(LISTING, folder=f"{site.directory}/data") == before
        assert restore(site, "--group", "statistics")[0] == DONE
    code, message, _unused = restore(site)
    assert code == DONE and site.python("print(os.path.getsize('notes'))") == "10", message
    # a disk that is hidden below another one does not count
    with machine.mounted(users, "--bind", "/srv/aside"):
        machine.run("sh", "-c", f"mkdir -p /srv/all && cp -a {site.directory}/. /srv/all")
        with machine.mounted(site.directory, "--bind", "/srv/all"):
            machine.run("chmod", "711", site.directory)
            code, message, _unused = restore(site)
            assert code == DONE, message


@pytest.mark.parametrize("failed", [False, True])
def test_a_run_before_the_disk_was_mounted_hides_no_backup(machine: Machine, failed: bool) -> None:
    """The host is set up again, and cron is faster than the administrator."""
    site = machine.site(f"early-{str(failed).lower()}")
    repository, state = f"/srv/repositories/{site.name}", f"/var/lib/carrel/{site.name}/backup"
    write(site)
    assert site.backup()[0] == DONE
    machine.run("mv", repository, f"/srv/disk-{site.name}")
    machine.run("rm", "-r", state)
    site.python("os.unlink('thesis'); os.unlink('notes')")
    if failed:
        machine.run("mkdir", repository)
        assert site.backup()[0] == FAILED, "the mount point belongs to root"
    else:
        assert site.backup()[0] == DONE, "a new repository, of an empty instance"
    with machine.mounted(repository, "--bind", f"/srv/disk-{site.name}"):
        for _unused in range(2):
            code, entry = site.backup()
            assert code == FAILED and "disk that was mounted only afterwards" in entry["message"], entry
        code, message, _warnings = restore(site)
        assert code == DONE, message
        assert site.python("print(os.path.getsize('notes'))") == "10"
        assert site.backup()[0] == DONE


def test_nothing_is_restored_through_a_link(machine: Machine) -> None:
    site = machine.site("links")
    site.python("os.mkdir('folder'); open('folder/x', 'w').close()")
    site.python("subprocess.run(['chown', '-R', f'{uid}:{gid}', 'folder'], check=True)")
    assert site.backup()[0] == DONE
    site.python("import shutil; shutil.rmtree('folder'); os.symlink('/etc', 'folder')")
    code, message, _unused = restore(site, "--user", "ada", "--path", "folder/x")
    assert code == FAILED and "a link or a file is in the way" in message and "Bad file" not in message, message
    assert_nothing_is_left(site)
