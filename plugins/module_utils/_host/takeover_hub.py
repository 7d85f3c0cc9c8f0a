# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""End a hub's old setup and copy its people's files, or bring back what is newer and start it again.

The old container and people's folders stay. As with labs, the record is written first, and each step can be repeated.
"""

from __future__ import annotations

import contextlib
import os
import pwd
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from ansible_collections.carrel.jupyter.plugins.module_utils._adopt import takeover as decide
from ansible_collections.carrel.jupyter.plugins.module_utils._adopt import takeover_hub as decide_hub
from ansible_collections.carrel.jupyter.plugins.module_utils._adopt.takeover_hub import Span, Spans
from ansible_collections.carrel.jupyter.plugins.module_utils._host import directories, files, home_copy, takeover
from ansible_collections.carrel.jupyter.plugins.module_utils._host.account import Account
from ansible_collections.carrel.jupyter.plugins.module_utils._host.engine_api import EngineAPI, EngineError
from ansible_collections.carrel.jupyter.plugins.module_utils._host.engine_socket import through
from ansible_collections.carrel.jupyter.plugins.module_utils._host.home_copy import Copied
from ansible_collections.carrel.jupyter.plugins.module_utils._host.process import run
from ansible_collections.carrel.jupyter.plugins.module_utils._host.survey import ROOTFUL
from ansible_collections.carrel.jupyter.plugins.module_utils._host.takeover import TakeoverError
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.facts import first_range
from ansible_collections.carrel.jupyter.plugins.module_utils._site.purge import archives

GRACE = 20  # seconds that Docker gives a container to end
TOTAL = 3600
SYNC_SECONDS = 1800
USERS = 100  # the group of people in their containers, as the role hub has it for folders that they pass


class HubTakeover(takeover.Begun):
    """The takeover of a hub. ACCOUNT is that of its new engine."""

    def __init__(self, entry: Mapping[str, Any], base: str, account: str) -> None:
        super().__init__(entry, base)
        self.given = {"base": base, "engine": account}
        self.new_account: str = self.record.get("engine", account)
        self.folder = f"{self.base}/{self.name}"
        # Not the record's: somebody whose files cannot be copied may be taken out.
        self.homes: dict[str, str] = {home["user"]: home["source"] for home in entry["homes"]}
        old = self.entry["account"]
        socket = Account(_entry(old)).socket if old else ROOTFUL
        self.engine = EngineAPI(socket, total=TOTAL)

    @property
    def copied(self) -> list[str]:
        found: list[str] = self.record.get("copied", [])
        return found

    @property
    def begun(self) -> dict[str, str]:
        """Whose homes are not complete, and since which start of the host. If a copy fails, the next user's begins."""
        found: dict[str, str] = self.record.get("begun", {})
        return found

    def check_given(self, *keys: str) -> None:
        """Raise TakeoverError if it began with another base or engine."""
        problem = decide_hub.change_problem(self.record, {key: self.given[key] for key in keys})
        if problem:
            raise TakeoverError(f"{self.name}: {problem}")

    def check(self) -> dict[str, Copied]:
        """Raise TakeoverError if it cannot be taken over. Return what there is to copy of each user."""
        self._check_begun_back()
        if os.path.lexists(self.folder):
            raise TakeoverError(f"{self.folder} is there already: move it away")
        problem = decide_hub.container_problem(self.entry["container"], self._container())
        if problem:
            raise TakeoverError(f"{self.name}: {problem}")
        self._check_files()
        found = {user: self._measure(source) for user, source in self.homes.items()}
        place = self.base
        while not os.path.lexists(place):
            place = os.path.dirname(place)
        status = os.statvfs(place)
        needed = sum(one.bytes for one in found.values())
        problem = decide_hub.room(needed, status.f_bavail * status.f_frsize, self.base)
        if problem:
            raise TakeoverError(f"{self.name}: {problem}")
        return found

    def _measure(self, source: str) -> Copied:
        owners = decide_hub.owners(self._old_ids(), None)
        descriptor = _opened(source)
        try:
            status = os.fstat(descriptor)
            if owners(status.st_uid, status.st_gid) is None:
                raise TakeoverError(
                    f"{source} belongs to {status.st_uid}:{status.st_gid} and not to {self.entry['account']} or its "
                    f"containers: take it out of `homes` in jupyter_adopted, or {decide.AGAIN}"
                )
            return home_copy.copy(descriptor, None, owners, check_mode=True)
        finally:
            os.close(descriptor)

    def _old_ids(self) -> Spans | None:
        return _spans(self.entry["account"]) if self.entry["account"] else None

    def _container(self) -> dict[str, Any]:
        found = self._inspect(self.entry["container"])
        if found is None:
            raise TakeoverError(
                f"the old hub has no container {self.entry['container']} any more: start it as it was set up, and "
                f"{decide.AGAIN}"
            )
        return found

    def _inspect(self, container: str) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = self.engine.call("GET", f"/containers/{quote(container, safe='')}/json")
        except EngineError as error:
            if error.status != 404:
                raise
            return None
        return found

    def end(self) -> None:
        """Move the old hub's site and jobs away, and stop it and people's servers."""
        if self.state is None:
            found = self._container()
            self.record["policy"] = decide_hub.restart_policy(found["HostConfig"]["RestartPolicy"])
            self.record["running"] = bool(found["State"]["Running"])
            self.record["began"] = takeover.now()
            self._write("ending")
        # Before it stops, or a job could start it again.
        for place, aside in decide_hub.moves(self.entry).items():
            if not os.path.lexists(aside):
                takeover.rename(place, aside)
        self._reload_apache()
        self.stop()
        self.settle()

    def stop(self) -> None:
        found = self._inspect(self.entry["container"])
        if found and found["HostConfig"]["RestartPolicy"]["Name"] != "no":
            self._update(found["Id"], {"Name": "no"})
        for identity in self.running().values():
            self._stop(identity)
        left = self.running()
        if left:
            raise TakeoverError(
                f"{', '.join(left)} of the old hub was stopped, and runs again: find what starts it, end that, and run "
                "this again"
            )

    def running(self) -> dict[str, str]:
        """Containers of the old setup that run, by name. The hub is first: it would start people's servers again."""
        hub = self._inspect(self.entry["container"])
        found = [hub] if hub and hub["State"]["Running"] else []
        return {str(one["Name"]).lstrip("/"): str(one["Id"]) for one in (*found, *self._servers())}

    def left(self) -> list[str]:
        """Whose files are missing."""
        return [user for user in self.homes if user not in self.copied]

    def _servers(self) -> Iterator[dict[str, Any]]:
        """Containers that run and have one of people's folders, also those that were started since adopt."""
        sources = set(self.homes.values())
        for listed in self.engine.call("GET", "/containers/json"):
            found = self._inspect(str(listed["Id"]))
            if found and sources & {mount.get("Source") for mount in found["Mounts"]}:
                yield found

    def _stop(self, identity: str) -> None:
        try:
            self.engine.call("POST", f"/containers/{quote(identity, safe='')}/stop?t={GRACE}")
        except EngineError as error:
            if error.status != 404:
                raise

    def _update(self, identity: str, policy: Mapping[str, Any]) -> None:
        self.engine.call("POST", f"/containers/{quote(identity, safe='')}/update", {"RestartPolicy": policy})

    def copy(self, user: str) -> Copied:
        """Copy a user's files. The home belongs to root until it is complete, so nobody else reaches it."""
        if self.state not in ("taking", "taken"):
            raise TakeoverError(f"the old hub of {self.name} has not ended: run the whole playbook takeover")
        source = _opened(self.homes[user])
        try:
            owners = decide_hub.owners(self._old_ids(), _spans(self.new_account))
            status = os.fstat(source)
            owner = owners(status.st_uid, status.st_gid)
            if owner is None:
                raise TakeoverError(f"{self.homes[user]} belongs to {status.st_uid}:{status.st_gid}: {decide.AGAIN}")
            folder = decide_hub.user_folder(self.folder, user)
            if user not in self.begun and os.path.lexists(f"{folder}/home"):
                raise TakeoverError(
                    f"{folder}/home is there already, so nothing was copied: copy what is missing from "
                    f"{self.homes[user]} by hand, and take the user out of `homes` in jupyter_adopted"
                )
            boot = _boot()
            if self.begun.get(user, boot) != boot:
                _remove_unfinished(f"{folder}/home")
            self.record.update(engine=self.new_account, begun={**self.begun, user: boot})
            self._write(self.state)
            self._make_folders(self.folder, f"{self.folder}/data")
            done = self._fill(source, folder, owners, owner)
        finally:
            os.close(source)
        self.record.update(begun={one: self.begun[one] for one in self.begun if one != user})
        self.record.update(copied=[*self.copied, user])
        self.settle()
        return done

    def settle(self) -> None:
        """Record whether anybody's files are still missing."""
        self._write("taking" if self.left() else "taken")

    def _fill(self, source: int, folder: str, owners: home_copy.Owners, owner: tuple[int, int]) -> Copied:
        for path in (os.path.dirname(folder), folder):
            if not os.path.lexists(path):
                files.make_directory(path, 0, _spans(self.new_account)[1].outside(USERS) or 0, 0o751)
        if not os.path.lexists(f"{folder}/home"):
            files.make_directory(f"{folder}/home", 0, 0, 0o700)
        home = files.open_directory(f"{folder}/home")
        try:
            if os.fstat(home).st_uid != 0:
                return Copied()  # a run was killed after this
            done = home_copy.copy(source, home, owners)
            _sync(home, f"{folder}/home")
            os.fchmod(home, 0o700)
            os.fchown(home, *owner)
            os.fsync(home)
            return done
        finally:
            os.close(home)

    def check_back(self) -> None:
        """Raise TakeoverError if it cannot be given back."""
        if os.path.lexists(f"{takeover.RECORDS}/{self.name}/instance.json"):
            raise TakeoverError(
                f"{self.name} is still there: write state: absent into it, run carrel.jupyter.site, and run this "
                "again; people's files go to the archive, and what is newer comes back from there"
            )
        self._container()
        for old, new in decide_hub.moves(self.entry).items():
            if os.path.lexists(old) and os.path.lexists(new) and self.state != "returning":
                raise TakeoverError(f"{old} is there again, and would be replaced: move it away")

    def copy_back(self, user: str, check_mode: bool) -> Copied:
        """Copy what is newer to a user's old folder."""
        done = Copied()
        for home in self.homes_since(user) if user in self.copied else ():
            done.add(self._copy_back(home, self.homes[user], check_mode))
        return done

    def _copy_back(self, home: str, old: str, check_mode: bool) -> Copied:
        source = _opened(home)
        try:
            target = _opened(old)
            try:
                owners = decide_hub.owners(_spans(self.new_account), self._old_ids())
                done = home_copy.copy(source, target, owners, check_mode, durable=True)
                if not check_mode:
                    # also what a run copied that was killed before this
                    _sync(target, old)
                return done
            finally:
                os.close(target)
        finally:
            os.close(source)

    def homes_since(self, user: str) -> list[str]:
        """A user's homes since the takeover, oldest first: in archives of the hub, and in the hub."""
        archive = f"{self.base}/.archive"
        found = decide.since(archives(self.name, takeover.names(archive)), self.record["began"])
        places = [*(f"{archive}/{one}" for one in found), self.folder]
        homes = [f"{decide_hub.user_folder(place, user)}/home" for place in places]
        return [home for home in homes if os.path.lexists(home)]

    def give_back(self) -> None:
        self._write("returning")
        for place, aside in decide_hub.moves(self.entry).items():
            if os.path.lexists(aside) and not os.path.lexists(place):
                takeover.rename(aside, place)
        self._reload_apache()
        identity = self._container()["Id"]
        self._update(identity, self.record["policy"])
        if self.record["running"]:
            self.engine.call("POST", f"/containers/{quote(identity, safe='')}/start")
        files.remove(self.record_path)


def _opened(path: str) -> int:
    try:
        return files.open_directory(path)
    except FileNotFoundError:
        raise TakeoverError(
            f"{path} does not exist any more: take it out of `homes` in jupyter_adopted, or {decide.AGAIN}"
        ) from None


def _boot() -> str:
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def _sync(folder: int, shown: str) -> None:
    takeover.checked(run(["sync", "--file-system", through(folder)], SYNC_SECONDS), f"sync {shown}")


def _remove_unfinished(home: str) -> None:
    """After a power cut, files can have their names, sizes and times, and zeros inside: the copy would keep them."""
    with contextlib.suppress(FileNotFoundError):
        above = files.open_directory(os.path.dirname(home))
        try:
            unfinished = os.stat("home", dir_fd=above, follow_symlinks=False).st_uid == 0
        finally:
            os.close(above)
        if unfinished:
            directories.remove_tree(home)


def _entry(account: str) -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(account)
    except KeyError:
        raise TakeoverError(f"there is no account {account}: run this again, with the whole playbook") from None


def _spans(account: str) -> Spans:
    entry = _entry(account)
    found = []
    for kind, own in (("uid", entry.pw_uid), ("gid", entry.pw_gid)):
        span = first_range(files.read_text(f"/etc/sub{kind}") or "", account, entry.pw_uid)
        if span is None:
            raise TakeoverError(f"{account} has no range in /etc/sub{kind}: see carrel.jupyter.subordinate_ids")
        found.append(Span(own, span["start"], span["count"]))
    return found[0], found[1]
