# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Backups and restores beside plain tar and plain restic on the same tree, and the restore of one user of many.

The environment says how large the tree is (BACKUP_MB, BACKUP_FILES) and how many users there are (BACKUP_USERS). restic
has the priority that carrel-backup gives it, so that other work on the machine slows both alike.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from testbed import engine, hosts
from testbed.run import ROOT, step

USERS = int(os.environ.get("BACKUP_USERS", "1000"))
SECONDS = 4 * 60 * 60
KINDLY = ["nice", "-n", "19", "ionice", "-c", "3"]
TREE = """
size = megabytes * 1_000_000 // files
for number in range(files):
    path = f"folder{number // 1000}/file{number}"
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as stream: stream.write(os.urandom(size))
subprocess.run(["chown", "-R", f"{uid}:{gid}", "."], check=True)
"""
CHANGE = """
for number in range(0, files, 100):
    with open(f"folder{number // 1000}/file{number}", "r+b") as stream: stream.write(os.urandom(1000))
"""
MANY = """
for number in range(users):
    home = f"{directory}/data/users/student{number}/home"
    os.makedirs(home)
    os.chmod(os.path.dirname(home), 0o751)
    with open(f"{home}/notes", "wb") as stream: stream.write(os.urandom(200_000))
    subprocess.run(["chown", "-R", f"{uid}:{gid}", home], check=True)
"""
TIMED = """
import resource, time
os.sync()  # what the one before has written is not this one's work
began = time.monotonic()
done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True)
if done.returncode: sys.exit(f"{command}: {done.returncode} {done.stdout[-1000:]} {done.stderr[-1000:]}")
memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
print(json.dumps({"s": round(time.monotonic() - began, 2), "MiB": memory}))
"""


def measure() -> dict[str, Any]:
    megabytes, files = int(os.environ.get("BACKUP_MB", "500")), int(os.environ.get("BACKUP_FILES", "20000"))
    sys.path.insert(0, str(ROOT / "tests" / "integration"))
    from backup_site import started

    try:
        with engine.up(), started(SECONDS) as machine:
            machine.seconds = SECONDS
            with step(f"backups of {megabytes} MB in {files} files"):
                tree = compare(machine, megabytes, files)
            with step(f"the restore of one of {USERS} users"):
                return {"tree": tree, "one_user": one_user(machine)}
    finally:
        if not hosts.containers():
            engine.down()


def timed(machine: Any, *command: str, repository: str = "") -> dict[str, Any]:
    """Seconds, and the memory of the process that had most."""
    environment = {"RESTIC_PASSWORD": "secret", "RESTIC_REPOSITORY": repository, "HOME": "/root"} if repository else {}
    found: dict[str, Any] = json.loads(machine.python(TIMED, command=command, environment=environment))
    return found


def compare(machine: Any, megabytes: int, files: int) -> dict[str, Any]:
    site = machine.site("bench")
    site.python(TREE, megabytes=megabytes, files=files)
    plain = "/srv/plain"
    timed(machine, "restic", "init", repository=plain)

    def restic(*arguments: str) -> dict[str, Any]:
        return timed(machine, *KINDLY, "restic", *arguments, repository=plain)

    def once() -> dict[str, Any]:
        return {
            "tar": timed(machine, *KINDLY, "tar", "-cf", "/srv/plain.tar", site.home),
            "restic": restic("backup", site.home),
            "carrel_backup": timed(machine, "carrel-backup", "run", site.name),
        }

    figures: dict[str, Any] = {"megabytes": megabytes, "files": files, "first": once()}
    site.python(CHANGE, files=files)
    figures["one_percent_changed"] = once()
    machine.run("mkdir", "/srv/untarred")
    # One copy at a time, so that 10 GB need 50 GB of disk, not 70.
    tar = timed(machine, *KINDLY, "tar", "-xf", "/srv/plain.tar", "-C", "/srv/untarred")
    machine.run("rm", "-r", "/srv/untarred", "/srv/plain.tar")
    plainly = restic("restore", "latest", "--target=/srv/restored")
    machine.run("rm", "-r", "/srv/restored")
    ours = timed(machine, "carrel-backup", "restore", site.name, "--user", "ada", "--overwrite")
    figures["restore"] = {"tar": tar, "restic": plainly, "carrel_backup": ours}
    for name in ("first", "one_percent_changed", "restore"):
        own, ours = figures[name]["restic"]["s"], figures[name]["carrel_backup"]["s"]
        figures[name]["times_restic"] = round(ours / own, 2)
        figures[name]["more_than_restic_s"] = round(ours - own, 2)
    figures["goal"] = "at most 1.1 times restic's own time, with 10 GB in 100,000 files"
    return figures


def one_user(machine: Any) -> dict[str, Any]:
    """The same data of one user: alone in a hub, and among many."""
    seconds = {}
    for name, users in (("alone", 0), ("among", USERS)):
        site = machine.site(name)
        site.python(TREE, megabytes=50, files=500)
        site.python(MANY, users=users)
        timed(machine, "carrel-backup", "run", name)
        seconds[name] = timed(machine, "carrel-backup", "restore", name, "--user", "ada", "--overwrite")["s"]
    return {
        "users": USERS,
        "megabytes": 50,
        "files": 500,
        "alone_s": seconds["alone"],
        "among_s": seconds["among"],
        "goal": "the time of the user's own data",
    }
