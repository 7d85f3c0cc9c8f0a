# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Manage users' files in directories of the host, which are bind mounts in their containers."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._host import directories, files
from ansible_collections.carrel.jupyter.plugins.module_utils._host.directories import Wanted
from ansible_collections.carrel.jupyter.plugins.module_utils._host.quotas import Quotas
from ansible_collections.carrel.jupyter.plugins.module_utils._host.user_backend import Backend
from ansible_collections.carrel.jupyter.plugins.module_utils._people.user_volumes import archives, newest
from ansible_collections.carrel.jupyter.plugins.module_utils._shared.escape import unescape

ARCHIVE = ".archive"
TRASH = ".trash"


class UserDirectories(Backend):
    """The directories of users below one path."""

    def __init__(self, parameters: Mapping[str, Any], check_mode: bool, uid: int, gid: int) -> None:
        self.path: str = parameters["path"].rstrip("/")
        super().__init__(parameters, check_mode, self.path, f"{self.path}/", uid, gid)
        self.passage = Wanted(0, gid, 0o751, enforce=True)
        self.base: Any = None  # a descriptor, as soon as the directory exists
        self.quotas = Quotas(check_mode)
        self.limits = {user["name"]: user.get("disk") for user in parameters["users"]}
        self._archives: dict[str, dict[str, float]] | None = None  # by the user's directory; None: not read yet

    def run(self) -> None:
        super().run()
        self.warnings += self.quotas.warnings()

    def _ensure(self, parent: int | None, name: str, shown: str, wanted: Wanted) -> int | None:
        path = f"{self.path}/{shown}".rstrip("/")
        descriptor, before, after = directories.ensure(parent, name, path, wanted, self.check_mode)
        self.note(shown or ".", before, after)
        return descriptor

    def open(self) -> None:
        above, name = os.path.split(self.path)
        parent = None
        with contextlib.suppress(FileNotFoundError):
            parent = files.open_directory(above, create=not self.check_mode)
        try:
            self.base = self._ensure(parent, name, "", self.passage)
        finally:
            if parent is not None:
                os.close(parent)
        if self.parameters["purge"] and self.base is not None and TRASH in os.listdir(self.base):
            self.before.append(TRASH)
            if not self.check_mode:
                self._empty_trash()

    def there(self) -> list[str]:
        if self.base is None:
            return []
        return [name for name in os.listdir(self.base) if not name.startswith(".")]

    def make(self, directory: str, user: str) -> None:
        if self._bring_back(directory, user) and self.check_mode:
            return
        base = None if self.check_mode and user in self.begun_anew else self.base
        descriptor = self._ensure(base, directory, directory, self.passage)
        try:
            with self.reporting():
                self._limit(descriptor, directory, self.limits[user])
            for name, wanted in self.leaves:
                with self.reporting():
                    leaf = self._ensure(descriptor, name, f"{directory}/{name}", wanted)
                    if leaf is not None:
                        os.close(leaf)
        finally:
            if descriptor is not None:
                os.close(descriptor)

    def _limit(self, descriptor: int | None, directory: str, limit: int | None) -> None:
        """Limit everything that a user has, including leaves that do not exist yet."""
        at = self.base if descriptor is None else descriptor
        if at is not None:
            path = f"{self.path}/{directory}"
            before, after = self.quotas.ensure([(at, path)], limit, missing=descriptor is None)
            self.note(f"{directory} disk", before, after)

    def _archived(self) -> list[str]:
        if self.base is None or ARCHIVE not in os.listdir(self.base):
            return []
        archive = directories.open_child(self.base, ARCHIVE, f"{self.path}/{ARCHIVE}")
        try:
            return os.listdir(archive)
        finally:
            os.close(archive)

    def _archives_of(self, directory: str) -> dict[str, float]:
        """One user's archives and their times. All are read once: a class may have thousands."""
        if self._archives is None:
            self._archives = {}
            for name, (of, moment) in archives(self._archived()).items():
                self._archives.setdefault(of, {})[name] = moment
        return self._archives.get(directory, {})

    def _is_there(self, directory: str) -> bool:
        try:
            os.stat(directory, dir_fd=self.base, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True

    def has_archive(self, directory: str) -> bool:
        return newest(self._archives_of(directory)) is not None

    def _bring_back(self, directory: str, user: str) -> bool:
        """Give users who are listed again their last archive."""
        if self.base is None or self._is_there(directory):
            return False
        name = newest(self._archives_of(directory), self.since(user))
        if name is None:
            return False
        del self._archives_of(directory)[name]
        self.before.append(f"{ARCHIVE}/{name}")
        self.after.append(directory)
        if not self.check_mode:
            archive = directories.root_only(self.base, ARCHIVE, f"{self.path}/{ARCHIVE}")
            try:
                os.rename(name, directory, src_dir_fd=archive, dst_dir_fd=self.base)
            finally:
                os.close(archive)
        return True

    def expire(self, before: float, keep: Mapping[str, str]) -> None:
        self._archives = None
        found = archives(self._archived()).items()
        old = [(name, of) for name, (of, moment) in found if self.expired(moment, before, keep.get(of))]
        # left over from a killed run
        left = self.base is not None and TRASH in os.listdir(self.base)
        if left:
            self.before.append(TRASH)
        for name, of in sorted(old):
            self.before.append(f"{ARCHIVE}/{name}")
            self.deleted.append(unescape(of) or of)
            if not self.check_mode:
                archive = directories.root_only(self.base, ARCHIVE, f"{self.path}/{ARCHIVE}")
                trash = directories.root_only(self.base, TRASH, f"{self.path}/{TRASH}")
                try:
                    os.rename(name, name, src_dir_fd=archive, dst_dir_fd=trash)
                finally:
                    os.close(archive)
                    os.close(trash)
        if (old or left) and not self.check_mode:
            self._empty_trash()

    def _close_by(self, directory: str) -> int:
        """Open a user's directory that this module may move."""
        path = f"{self.path}/{directory}"
        descriptor = directories.open_child(self.base, directory, path)
        status = os.fstat(descriptor)
        if status.st_uid != 0:
            os.close(descriptor)
            raise directories.ForeignOwnerError(directories.foreign(path, status.st_uid, status.st_gid, self.passage))
        return descriptor

    def _move(self, directory: str, folder: str, name: str) -> None:
        """Rename a user's directory into a folder that only root can enter."""
        target = directories.root_only(self.base, folder, f"{self.path}/{folder}")
        try:
            os.rename(directory, name, src_dir_fd=self.base, dst_dir_fd=target)
        finally:
            os.close(target)

    def archive(self, directory: str, user: str) -> None:
        os.close(self._close_by(directory))
        stamp = self.stamp()
        name, number = f"{directory}-{stamp}", 1
        while os.path.lexists(f"{self.path}/{ARCHIVE}/{name}"):
            name, number = f"{directory}-{stamp}-{number}", number + 1
        self.before.append(directory)
        self.after.append(f"{ARCHIVE}/{directory}-TIME")
        if not self.check_mode:
            self._move(directory, ARCHIVE, name)
            self._archives = None
        self.archived[user] = f"{self.path}/{ARCHIVE}/{name}"

    def delete(self, directory: str, user: str) -> None:
        os.close(self._close_by(directory))
        self.before.append(directory)
        if not self.check_mode:
            self._move(directory, TRASH, directory)
            self._empty_trash()
        self.deleted.append(user)

    def _empty_trash(self) -> None:
        """Delete what this run, or one that was interrupted, has moved there."""
        path = f"{self.path}/{TRASH}"
        trash = directories.root_only(self.base, TRASH, path)
        try:
            directories.empty_trash(trash, path)
        finally:
            os.close(trash)
        os.rmdir(TRASH, dir_fd=self.base)

    def owner(self, directory: str) -> str | None:
        user = unescape(directory)
        try:
            descriptor = self._close_by(directory)
        except self.reported:
            return None
        try:
            content = os.listdir(descriptor)
        finally:
            os.close(descriptor)
        return user if not content or any(name in content for name, _unused in self.leaves) else None
