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
with open(packs[-1], "r+b") as stream:
    stream.seek(1000)
    stream.write(b"damage")
"""
# A path that fits where it is, and not below the longer name of the tree of a restore.
DEEP = """
home = os.getcwd()
above = f"{directory}/data/users/ada/home"
parts = []
while len(above) + sum(len(part) + 1 for part in parts) < 3800: parts.append("d" * 200)
for part in parts:
    os.mkdir(part); os.chown(part, uid, gid); os.chdir(part)
name = "n" * (4090 - len(above) - sum(len(part) + 1 for part in parts) - 1)
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
    machine.python(DAMAGE, repository=f"/srv/repositories/{site.name}")
    part = [] if whole else ["--user", "ada"]
    code, message, _unused = restore(site, *part)
    assert code == FAILED and "home/thesis: " in message and "--accept-damaged" in message, message
    assert site.python(LISTING) == before
    assert_nothing_is_left(site)
    code, message, warnings = restore(site, *part, "--accept-damaged")
    assert code == INCOMPLETE and any("not whole" in each and "home/thesis: " in each for each in warnings), warnings
    assert site.python("print(os.path.getsize('notes'))") == "10"
    code, entry = site.command("drill", "--user", "ada")
    assert code == FAILED and "thesis" in entry["message"] and "accept" not in entry["message"], entry


def test_a_path_that_is_too_long_beside_keeps_nothing_else_back(machine: Machine) -> None:
    site = machine.site("deep")
    write(site)
    site.python(DEEP)
    code, entry = site.backup()
    assert code == DONE, entry
    site.python("os.unlink('notes')")
    code, message, _unused = restore(site, "--user", "ada")
    assert code == FAILED and "file name too long" in message and "--accept-damaged" in message, message
    code, message, warnings = restore(site, "--user", "ada", "--accept-damaged")
    assert code == INCOMPLETE and any("file name too long" in each for each in warnings), warnings
    assert site.python("print(os.path.getsize('notes'), os.path.getsize('thesis'))") == "10 5000000"


def test_sparse_and_linked_files_are_restored_where_there_is_room_for_what_they_have(machine: Machine) -> None:
    site = machine.site("sparse")
    machine.run("mount", "-t", "tmpfs", "-o", "size=80m,mode=711", "tmpfs", f"{site.directory}/data")
    machine.python(
        "for path in (f'{directory}/data/users', f'{directory}/data/users/ada'): os.mkdir(path, 0o751)\n"
        "os.mkdir(home, 0o700); os.chown(home, uid, gid)",
        directory=site.directory, home=site.home, uid=site.first + 999, gid=site.first + 99,
    )  # fmt: skip
    write(site)
    site.python("for n in range(20): os.link('thesis', f'link-{n}')")
    assert site.backup()[0] == DONE
    before = site.python(LISTING)
    code, message, _unused = restore(site, "--user", "ada")
    assert code == DONE, f"21 links of 5 MB are no 105 MB: {message}"
    assert site.python("print(os.stat('thesis').st_nlink)") == "21" and site.python(LISTING) == before
    site.python("open('disk.img', 'w').truncate(1 << 30); os.chown('disk.img', uid, gid)")
    assert site.backup()[0] == DONE
    before = site.python(LISTING)
    code, message, _unused = restore(site, "--user", "ada")
    assert code == FAILED and "home/disk.img with 1.0 GiB; if it is sparse" in message, message
    code, message, _unused = restore(site, "--user", "ada", "--accept-size")
    assert code == DONE, message
    assert site.python(LISTING) == before and site.python("print(os.stat('disk.img').st_blocks < 100)") == "True"
    machine.run("umount", f"{site.directory}/data")


def test_a_disk_of_its_own_below_the_data_is_refused_before_anything_is_touched(machine: Machine) -> None:
    site = machine.site("disk", database="sqlite")
    machine.python(
        "import sqlite3\nbase = sqlite3.connect(path)\nwith base: base.execute('CREATE TABLE users (name)')\n"
        "os.chown(path, os.stat(os.path.dirname(path)).st_uid, 0)",
        path=f"{site.directory}/data/hub/jupyterhub.sqlite",
    )  # fmt: skip
    write(site)
    users = f"{site.directory}/data/users"
    machine.run("sh", "-c", f"mkdir /srv/aside && cp -a {users}/. /srv/aside && mount --bind /srv/aside {users}")
    assert site.backup()[0] == DONE
    site.python("os.unlink('notes')")
    before = site.python(LISTING, folder=f"{site.directory}/data")
    for options in [], ["--user", "ada"], ["--user", "ada", "--path", "notes"]:
        code, message, _unused = restore(site, *options)
        assert code == FAILED and f"{users} is a mount of its own" in message, message
    code, entry = site.command("drill", "--user", "ada")
    assert code == FAILED and f"{users} is a mount of its own" in entry["message"], entry
    assert restore(site, "--group", "statistics")[0] == DONE
    assert site.python(LISTING, folder=users) in before
    machine.run("umount", users)
    machine.run("rm", "-r", "/srv/aside")
    code, message, _unused = restore(site)
    assert code == DONE and site.python("print(os.path.getsize('notes'))") == "10", message


def test_a_run_before_the_disk_was_mounted_hides_no_backup(machine: Machine) -> None:
    """The host is set up again, and cron is faster than the administrator."""
    site = machine.site("early")
    write(site)
    assert site.backup()[0] == DONE
    machine.run("mv", "/srv/repositories/early", "/srv/disk")
    machine.run("rm", "-r", "/var/lib/carrel/early/backup")
    site.python("os.unlink('thesis'); os.unlink('notes')")
    assert site.backup()[0] == DONE, "a new repository, of an empty instance"
    machine.run("mount", "--bind", "/srv/disk", "/srv/repositories/early")
    code, entry = site.backup()
    assert code == FAILED and "below a disk that was mounted only afterwards" in entry["message"], entry
    code, message, _unused = restore(site)
    assert code == DONE, message
    assert site.python("print(os.path.getsize('notes'))") == "10"
    assert site.backup()[0] == DONE
    machine.run("umount", "/srv/repositories/early")


def test_nothing_is_restored_through_a_link(machine: Machine) -> None:
    site = machine.site("links")
    site.python("os.mkdir('folder'); open('folder/x', 'w').close()")
    site.python("subprocess.run(['chown', '-R', f'{uid}:{gid}', 'folder'], check=True)")
    assert site.backup()[0] == DONE
    site.python("import shutil; shutil.rmtree('folder'); os.symlink('/etc', 'folder')")
    code, message, _unused = restore(site, "--user", "ada", "--path", "folder/x")
    assert code == FAILED and "a link or a file is in the way" in message and "Bad file" not in message, message
    assert_nothing_is_left(site)
