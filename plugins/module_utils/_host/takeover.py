# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""End an account's old setup and take its notebooks, or give them back.

The record is written first, and each step can be repeated: the next run completes a run that was killed. Nothing is
copied; folders and files are renamed.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._adopt import takeover as decide
from ansible_collections.carrel.jupyter.plugins.module_utils._changes.file import File
from ansible_collections.carrel.jupyter.plugins.module_utils._engine.rootless_docker import UNIT, config_path
from ansible_collections.carrel.jupyter.plugins.module_utils._host import files
from ansible_collections.carrel.jupyter.plugins.module_utils._host.account import Account
from ansible_collections.carrel.jupyter.plugins.module_utils._host.mount_ids import mount_id
from ansible_collections.carrel.jupyter.plugins.module_utils._host.process import Done, run
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.facts import first_range, parse_instance
from ansible_collections.carrel.jupyter.plugins.module_utils._site.purge import archives, mounted

SECONDS = 180
RECORDS = "/var/lib/carrel"
MOUNTS = Path("/proc/self/mountinfo")


class TakeoverError(Exception):
    """Why a takeover or its way back is refused or has stopped. The text says what to do."""


class Begun:
    """An entry of jupyter_adopted, and the record of its takeover."""

    def __init__(self, entry: Mapping[str, Any], base: str) -> None:
        self.name = decide.name_of(entry)
        self.record_path = f"{decide.aside(self.name)}/record.json"
        text = files.read_text(self.record_path)
        self.record: dict[str, Any] = json.loads(text) if text else {}
        # What was begun is completed as it was begun.
        self.entry: Mapping[str, Any] = self.record.get("entry", entry)
        self.base: str = self.record.get("base", base)

    @property
    def state(self) -> str | None:
        """None, taking, taken or returning."""
        return self.record.get("state")

    def _write(self, state: str) -> None:
        self.record = {**self.record, "version": 1, "state": state, "base": self.base, "entry": self.entry}
        files.write(self.record_path, File(json.dumps(self.record, indent=1).encode(), 0o600))

    def _check_begun_back(self) -> None:
        if self.state == "returning":
            raise TakeoverError(
                f"{self.name} is being given back: complete that first, with -e jupyter_takeover_back=true"
            )

    def _check_files(self) -> None:
        there = {path: os.path.lexists(path) for path in self.entry["files"]}
        problem = decide.file_problem(self.entry, there, active("nginx"))
        if problem:
            raise TakeoverError(f"{self.name}: {problem}")

    def _make_folders(self, *folders: str) -> None:
        for folder in folders:
            if not os.path.lexists(folder):
                files.make_directory(folder, 0, 0, 0o711)

    def _reload_apache(self) -> None:
        if any(path.startswith("/etc/apache2/") for path in self.entry["files"]) and active("apache2"):
            checked(run(["systemctl", "reload", "apache2"], SECONDS), "systemctl reload apache2")


class Takeover(Begun):
    """The takeover of an account's engine and its labs."""

    def __init__(self, entry: Mapping[str, Any], base: str) -> None:
        super().__init__(entry, base)
        try:
            self.account = Account(pwd.getpwnam(self.name))
        except KeyError:
            raise TakeoverError(f"there is no account {self.name}: remove its entry from jupyter_adopted") from None

    @property
    def moves(self) -> dict[str, str]:
        return decide.moves(self.entry, self.base)

    def check(self) -> None:
        """Raise TakeoverError if it cannot be taken over. A run that was killed has passed this."""
        if self.state == "taking":
            return
        self._check_begun_back()
        if os.path.lexists(os.path.dirname(config_path(self.name))):
            raise TakeoverError(f"{self.name} has an engine of the collection: remove its entry from jupyter_adopted")
        mount = self._base_mount()
        for instance in self.entry["instances"]:
            folder = f"{self.base}/{instance['name']}"
            if os.path.lexists(folder):
                raise TakeoverError(f"{folder} is there already: move it away")
            self._check_notebooks(instance["notebooks"], mount)
        self._check_places()
        self._check_files()

    def _check_notebooks(self, path: str, mount: str) -> None:
        try:
            descriptor = files.open_directory(path)
        except FileNotFoundError:
            raise TakeoverError(f"{path} does not exist any more: {decide.AGAIN}") from None
        try:
            status, its_mount = os.fstat(descriptor), mount_id(descriptor)
        finally:
            os.close(descriptor)
        owner, ids = (status.st_uid, status.st_gid), (self._ids("uid"), self._ids("gid"))
        problem = decide.owner_problem(path, self.name, owner, ids)
        if problem:
            raise TakeoverError(problem)
        if its_mount != mount:
            raise TakeoverError(
                f"{path} is on another mount than {self.base}, and nothing is copied here: set jupyter_base_dir to a "
                "folder on the same one, or declare a new lab and copy the files (docs/howto/adopt.md)"
            )
        below = mounted(MOUNTS.read_text(errors="surrogateescape"), [path])
        if below:
            raise TakeoverError(
                f"{', '.join(below)} is mounted in {path}, and would not be at its new place after the next boot: "
                "unmount it, and mount it below the lab's new folder afterwards (docs/howto/adopt.md)"
            )

    def _check_places(self) -> None:
        notebooks = {one["name"]: one["notebooks"] for one in self.entry["instances"]}
        home = self.account.entry.pw_dir
        # Entries of an older version do not say what stays.
        stays = [path for one in self.entry["instances"] for path in one.get("stays") or []]
        for name in notebooks:
            problem = decide.place_problem(name, notebooks, [home, os.path.realpath(home), self.base, *stays])
            if problem:
                raise TakeoverError(f"{name}: {problem}, and {decide.AGAIN}")

    def _ids(self, kind: str) -> set[int]:
        span = first_range(files.read_text(f"/etc/sub{kind}") or "", self.name, self.account.uid)
        own = self.account.uid if kind == "uid" else self.account.gid
        return {own, *(range(span["start"], span["start"] + span["count"]) if span else ())}

    def _base_mount(self) -> str:
        there = self.base
        while not os.path.lexists(there):
            there = os.path.dirname(there)
        descriptor = files.open_directory(there)
        try:
            return mount_id(descriptor)
        finally:
            os.close(descriptor)

    def take(self) -> None:
        self.record.setdefault("began", now())
        self._write("taking")
        self._start_manager()
        self._systemctl("disable", "--now", self.entry["unit"])
        end = time.monotonic() + SECONDS
        while self.account.info() is not None:
            if time.monotonic() > end:
                raise TakeoverError(
                    f"the engine of {self.name} still runs, though its unit {self.entry['unit']} was stopped: stop it, "
                    "and run this again"
                )
            time.sleep(0.5)
        for instance in self.entry["instances"]:
            data = os.path.dirname(decide.target(self.base, instance["name"]))
            self._make_folders(os.path.dirname(data), data)
        for old, new in self.moves.items():
            if not os.path.lexists(new):
                rename(old, new)
        self._reload_apache()
        own = os.path.dirname(config_path(self.name))
        if not os.path.lexists(own):
            files.make_directory(own, 0, 0, 0o755)
        self._write("taken")

    def check_back(self) -> None:
        """Raise TakeoverError if it cannot be given back."""
        used = sorted(name for name in names(RECORDS) if self._runs(name))
        if used:
            raise TakeoverError(
                f"the engine of {self.name} still has {', '.join(used)}: write state: absent into each, run "
                "carrel.jupyter.site, and run this again; notebooks go to the archive, and come back from there"
            )
        for old, new in self.moves.items():
            kept, there = self._kept(new), os.path.lexists(old)
            if kept and there and self.state != "returning":
                raise TakeoverError(f"{old} is there again, and would be replaced: move it away")
            if len(kept) > 1 and not there:
                raise TakeoverError(
                    f"{old} cannot be given back, because several archives have notebooks: {', '.join(kept)}. Look "
                    f"which is the right one, put it to {new} yourself, and run this again"
                )
            if not kept and not there:
                raise TakeoverError(
                    f"{old} cannot be given back, because it is neither at {new} nor in {self.base}/.archive: put it "
                    f"back to {old} yourself, for example from a backup, and run this again"
                )

    def _runs(self, name: str) -> bool:
        """Whether an instance of the collection runs on the engine."""
        text = files.read_text(f"{RECORDS}/{name}/instance.json")
        return text is not None and parse_instance(text).get("engine") == self.name

    def _kept(self, path: str) -> list[str]:
        """Where a folder or file is that was moved to PATH: there, or in archives of its instance since then."""
        if os.path.lexists(path):
            return [path]
        places = []
        for instance in self.entry["instances"]:
            if path == decide.target(self.base, instance["name"]):
                archive = f"{self.base}/.archive"
                # Without the time of a takeover by an older version, all count.
                found = decide.since(archives(instance["name"], names(archive)), self.record.get("began", ""))
                places += [f"{archive}/{name}/data/notebooks" for name in found]
        return [place for place in places if os.path.lexists(place)]

    def give_back(self) -> None:
        self._write("returning")
        if self.account.manager_runs:
            self._systemctl("stop", UNIT)
        own = os.path.dirname(config_path(self.name))
        if os.path.lexists(own):
            rename(own, f"{decide.aside(self.name)}/engine-{now()}")
        for old, new in self.moves.items():
            kept = self._kept(new)
            if kept and not os.path.lexists(old):
                rename(kept[0], old)
        for instance in self.entry["instances"]:
            data = os.path.dirname(decide.target(self.base, instance["name"]))
            for folder in (data, os.path.dirname(data)):
                with contextlib.suppress(OSError):
                    os.rmdir(folder)  # the next takeover makes them again
        self._reload_apache()
        checked(run(["loginctl", "enable-linger", self.name], SECONDS), "loginctl enable-linger")
        self._start_manager()
        self._systemctl("enable", "--now", self.entry["unit"])
        self._start_containers()
        files.remove(self.record_path)

    def _start_containers(self) -> None:
        """Docker itself starts only those that have a restart policy."""
        docker = {"DOCKER_HOST": f"unix://{self.account.socket}"}
        for instance in self.entry["instances"]:
            if instance["running"]:
                done = run(["docker", "start", instance["container"]], SECONDS, self.account.entry, docker)
                checked(done, f"{self.name}: docker start {instance['container']}")

    def _start_manager(self) -> None:
        unit = f"user@{self.account.uid}.service"
        if not self.account.manager_runs:
            checked(run(["systemctl", "start", unit], SECONDS), f"systemctl start {unit}")

    def _systemctl(self, *arguments: str) -> None:
        done = self.account.systemctl(*arguments, timeout=SECONDS)
        checked(done, f"{self.name}: systemctl --user {' '.join(arguments)}")


def now() -> str:
    """As names of archives end."""
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())


def checked(done: Done, what: str) -> None:
    if done.code != 0:
        raise TakeoverError(f"{what} failed: {done.errors.strip()}; see to that, and run this again")


def names(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except FileNotFoundError:
        return []


def active(unit: str) -> bool:
    return run(["systemctl", "is-active", "--quiet", unit], SECONDS).code == 0


def rename(old: str, new: str) -> None:
    """Follow no link on the way, and replace nothing."""
    source = files.open_directory(os.path.dirname(old))
    try:
        target = files.open_directory(os.path.dirname(new), create=True)
        try:
            os.rename(os.path.basename(old), os.path.basename(new), src_dir_fd=source, dst_dir_fd=target)
            # The record, which may be on another file system, must not say more than what a power cut leaves.
            os.fsync(target)
            os.fsync(source)
        finally:
            os.close(target)
    finally:
        os.close(source)
