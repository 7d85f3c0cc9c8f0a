# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Instances in a container with restic, where root runs carrel-backup as on a host; without an engine."""

from __future__ import annotations

import contextlib
import io
import json
import secrets
import subprocess
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from testbed import hosts, images

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "roles" / "backup" / "files"
DONE, FAILED, USAGE, LOCKED, INCOMPLETE = range(5)

MAKE = """
import json, os, pwd, sys
wanted = json.load(sys.stdin)
name, first, own = wanted["name"], wanted["first"], wanted["uid"]
os.umask(0o022)
for file in ("passwd", "group"):
    line = f"{name}:x:{own}:" + (f"{own}::/home/{name}:/bin/sh" if file == "passwd" else "")
    with open(f"/etc/{file}", "a") as stream: print(line, file=stream)
for file in ("subuid", "subgid"):
    with open(f"/etc/{file}", "a") as stream: print(f"{name}:{first}:65536", file=stream)
uid = pwd.getpwnam(name).pw_uid

def directory(path, mode, owner=0, group=0):
    os.makedirs(path, exist_ok=True)
    os.chown(path, owner, group)
    os.chmod(path, mode)

base, user, people = f"/srv/{name}", first + 999, first + 99
for path in ("", "data", "data/groups"):
    directory(f"{base}/{path}", 0o711)
directory(f"{base}/data/users", 0o751, 0, people)
for person in ("ada", "grace-40uni-2eexample"):
    directory(f"{base}/data/users/{person}", 0o751, 0, people)
    directory(f"{base}/data/users/{person}/home", 0o700, user, people)
directory(f"{base}/data/groups/statistics", 0o2770, user, people)
directory(f"{base}/data/hub", 0o700, uid, uid)
with open(f"{base}/proxy.env", "w") as stream: stream.write("CONFIGPROXY_AUTH_TOKEN=x")
os.chown(f"{base}/proxy.env", 0, uid)
os.chmod(f"{base}/proxy.env", 0o640)
directory(f"/var/lib/carrel/{name}", 0o755)
with open(f"/var/lib/carrel/{name}/instance.json", "w") as stream:
    json.dump({"name": name, "kind": "hub", "engine": name, "directory": base, "database": wanted["database"]}, stream)
os.makedirs("/etc/carrel/backup", exist_ok=True)
ids = {"start": first, "count": 65536}
settings = {
    "version": 1, "name": name, "kind": "hub", "host": "geo1", "account": name, "directory": base,
    "socket": "/run/none.sock", "state_directory": f"/var/lib/carrel/{name}/backup",
    "run_directory": f"/run/carrel/backup/{name}",
    "repository": f"/srv/repositories/{name}", "subuid": ids, "subgid": ids, "token_file": None, "exclude": [],
    "keep": {"daily": 7}, "append_only": False, "deadline_seconds": 300, **wanted["settings"],
}
secrets = {"password": wanted["password"], "environment": {}}
for file, content in ((f"{name}.json", settings), (f"{name}.secrets.json", secrets)):
    with open(f"/etc/carrel/backup/{file}", "w") as stream: json.dump(content, stream)
"""

LISTING = """
import hashlib, stat
found = {}
for folder, folders, files in os.walk(b"."):
    for name in [b"", *files]:
        path = os.path.join(folder, name)
        s = os.lstat(path)
        what = os.readlink(path) if stat.S_ISLNK(s.st_mode) else b""
        if stat.S_ISREG(s.st_mode): what = hashlib.sha256(open(path, "rb").read()).digest()
        name = os.path.relpath(path).hex()
        found[name] = [s.st_uid, s.st_gid, s.st_mode, s.st_mtime_ns, what.hex()]
print(json.dumps(found, sort_keys=True))
"""


class Machine:
    """The container."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.first = 200_001
        self.seconds = 120.0  # for one command

    def run(self, *command: str, text: str | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["docker", "exec", "--interactive", self.name, *command], input=text, text=True, capture_output=True,
            check=check, timeout=self.seconds, errors="surrogateescape",
        )  # fmt: skip

    def python(self, code: str, **given: Any) -> str:
        """Run code, in which GIVEN are variables; return what it prints."""
        text = f"import json, os, subprocess, sys\nglobals().update(json.loads({json.dumps(given)!r}))\n{code}"
        return self.run("python3", "-", text=text).stdout.strip()

    @contextlib.contextmanager
    def mounted(self, path: str, *options: str) -> Iterator[None]:
        self.run("mount", *options, path)
        try:
            yield
        finally:
            self.run("umount", path)

    def install(self) -> None:
        """The program as the role puts it: links of the checkout are files there."""
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w", dereference=True) as archive:
            for path in sorted(PROGRAM.glob("carrel_backup/*.py")):
                archive.add(path, f"usr/local/lib/carrel/carrel_backup/{path.name}", filter=root_owned)
            archive.add(PROGRAM / "carrel-backup", "usr/local/sbin/carrel-backup", filter=root_owned)
        command = ["docker", "exec", "--interactive", self.name, "tar", "-x", "-C", "/"]
        subprocess.run(command, input=stream.getvalue(), check=True)

    def site(self, name: str, *, database: str | None = None, password: str = "secret", **settings: Any) -> Site:
        self.first += 100_000
        return self._site(name, self.first, self.first - 1, database, password, settings)

    def site_of_same_ids(self, name: str) -> Site:
        """One whose files have the ids that their containers have without a map, as on the outer engine."""
        return self._site(name, 1, 99_000, None, "secret", {})

    def _site(self, name: str, first: int, uid: int, database: str | None, password: str, settings: Any) -> Site:
        wanted = {
            "name": name, "first": first, "uid": uid, "database": database, "password": password, "settings": settings,
        }  # fmt: skip
        self.run("python3", "-c", MAKE, text=json.dumps(wanted))
        return Site(self, name, first)


@contextlib.contextmanager
def started(seconds: int = 1800, volumes: Sequence[str] = ("/srv",)) -> Iterator[Machine]:
    """A container that ends by itself after so long, if nobody ends it."""
    image = images.build("backup", parent=images.base())
    name = f"carrel-backup-{secrets.token_hex(4)}"
    command = ["docker", "run", "--detach", "--rm", "--init", "--name", name, *hosts.FLAGS]
    command += [f"--volume={volume}" for volume in volumes]
    subprocess.run([*command, image, "sleep", str(seconds)], check=True, capture_output=True)
    try:
        machine = Machine(name)
        machine.install()
        yield machine
    finally:
        subprocess.run(["docker", "rm", "--force", "--volumes", name], check=True, capture_output=True)


def root_owned(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    return member


class Site:
    """One instance. FIRST is the first of its account's subordinate ids."""

    def __init__(self, machine: Machine, name: str, first: int) -> None:
        self.machine, self.name, self.first = machine, name, first
        self.directory = f"/srv/{name}"
        self.home = f"{self.directory}/data/users/ada/home"

    @contextlib.contextmanager
    def on_disk(self, megabytes: int) -> Iterator[None]:
        """The instance's data on a disk of its own, with an empty home of ada's."""
        options = ["-t", "tmpfs", "-o", f"size={megabytes}m,mode=711", "tmpfs"]
        with self.machine.mounted(f"{self.directory}/data", *options):
            self.machine.python(
                "for path in (f'{directory}/data/users', f'{directory}/data/users/ada'): os.mkdir(path, 0o751)\n"
                "os.mkdir(home, 0o700); os.chown(home, uid, gid)",
                directory=self.directory, home=self.home, uid=self.first + 999, gid=self.first + 99,
            )  # fmt: skip
            yield

    def backup(self, *options: str) -> tuple[int, dict[str, Any]]:
        return self.command("run", *options)

    def command(self, command: str, *options: str) -> tuple[int, dict[str, Any]]:
        """The exit code and the state's entry."""
        done = self.machine.run("carrel-backup", command, self.name, *options, check=False)
        return done.returncode, self.state()["backup" if command == "run" else command] or {"message": done.stderr}

    def state(self) -> dict[str, Any]:
        text = self.machine.run("cat", f"/var/lib/carrel/{self.name}/backup/state.json").stdout
        found: dict[str, Any] = json.loads(text)
        return found

    def snapshots(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(
            self.machine.run("carrel-backup", "snapshots", self.name, "--json").stdout
        )
        return found

    def python(self, code: str, **given: Any) -> str:
        """Code in ada's home or another FOLDER, with the owner's ids of a home as `uid` and `gid`."""
        uid, gid = self.first + 999, self.first + 99
        given = {"folder": self.home, **given}
        return self.machine.python(f"os.chdir(folder)\n{code}", uid=uid, gid=gid, directory=self.directory, **given)

    def restic(self, *arguments: str) -> str:
        """restic as root, for a look at the repository."""
        command = f'RESTIC_PASSWORD=secret restic --no-lock --no-cache -r /srv/repositories/{self.name} "$@"'
        return self.machine.run("sh", "-c", command, "sh", *arguments).stdout
