# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare many small files and directories of root, and write those that differ."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._changes.file import File
from ansible_collections.carrel.jupyter.plugins.module_utils._changes.tracker import Tracker
from ansible_collections.carrel.jupyter.plugins.module_utils._host import directories, files
from ansible_collections.carrel.jupyter.plugins.module_utils._host.quotas import Quotas
from ansible_collections.carrel.jupyter.plugins.module_utils._shared.told import Told


class IncompleteError(Told):
    """A file has no content."""


class Installation:
    """Makes and removes files and directories. `changed` has the paths that changed, or would change in check mode."""

    def __init__(self, tracker: Tracker, check_mode: bool) -> None:
        self.tracker, self.check_mode = tracker, check_mode
        self.changed: list[str] = []
        self.quotas = Quotas(check_mode)

    def run(
        self,
        wanted_directories: Sequence[Mapping[str, Any]],
        wanted_files: Sequence[Mapping[str, Any]],
        secret_contents: Mapping[str, str],
        absent: Sequence[str],
        limits: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        contents = dict(secret_contents)
        for wanted in wanted_files:
            path, content = wanted["path"], wanted.get("content")
            if (content is None) == (path not in secret_contents):
                raise IncompleteError(f"{path} needs either content or an entry in secret_contents")
            contents.setdefault(path, content or "")
        for wanted in wanted_directories:
            if ensure_directory(wanted, self.tracker, self.check_mode):
                self.changed.append(wanted["path"])
        for wanted in limits:
            if self._limit(wanted["paths"], wanted["bytes"], wanted.get("empty", False)):
                self.changed += wanted["paths"]
        for wanted in wanted_files:
            if ensure_file(wanted, contents[wanted["path"]], self.tracker, self.check_mode):
                self.changed.append(wanted["path"])
        for path in absent:
            before = files.read(path)
            if self.tracker.note(path, before and "present\n", None):
                self.changed.append(path)
                if not self.check_mode:
                    files.remove(path)

    def _limit(self, paths: Sequence[str], limit: int, empty: bool) -> bool:
        """Limit directories together. If the first one is missing, in check mode, the one above it is examined."""
        there = paths[0]
        while not os.path.lexists(there):
            there = os.path.dirname(there)
        missing = there != paths[0]
        found = [(there, paths[0])] if missing else [(path, path) for path in paths if os.path.lexists(path)]
        opened = []
        try:
            for place, path in found:
                opened.append((files.open_directory(place), path))
            before, after = self.quotas.ensure(opened, limit, missing, empty)
        finally:
            for descriptor, _path in opened:
                os.close(descriptor)
        return self.tracker.note(paths[0], f"{before}\n" if before else None, f"{after}\n" if after else None)


def ensure_directory(wanted: Mapping[str, Any], tracker: Tracker, check_mode: bool) -> bool:
    """Make one directory. Return whether something changed."""
    path, owner, group = wanted["path"], wanted.get("owner", 0), wanted.get("group", 0)
    mode = int(wanted.get("mode", "0755"), 8)
    try:
        descriptor = files.open_directory(path)
    except FileNotFoundError:
        tracker.note(path, None, f"directory {owner}:{group} {mode:04o}\n")
        if not check_mode:
            files.make_directory(path, owner, group, mode)
        return True
    try:
        status = os.fstat(descriptor)
        # What root owns, only root has made. A wrong group, such as a former account's, is corrected below.
        if status.st_uid != owner or (owner != 0 and status.st_gid != group):
            raise directories.ForeignOwnerError(
                directories.of_another(path, f"{status.st_uid}:{status.st_gid}", f"{owner}:{group}")
            )
        before, after = f"mode {stat.S_IMODE(status.st_mode):04o}\n", f"mode {mode:04o}\n"
        if status.st_gid != group:
            before, after = f"{before[:-1]}, group {status.st_gid}\n", f"{after[:-1]}, group {group}\n"
        if owner != 0 or not tracker.note(path, before, after):
            return False
        if not check_mode:
            os.fchown(descriptor, 0, group)
            os.fchmod(descriptor, mode)
        return True
    finally:
        os.close(descriptor)


def ensure_file(wanted: Mapping[str, Any], content: str, tracker: Tracker, check_mode: bool) -> bool:
    """Write one file. Return whether something changed."""
    path = wanted["path"]
    secret = wanted.get("content") is None
    mode = int(wanted.get("mode", "0644"), 8)
    after = File(content.encode(), mode, wanted.get("owner", 0), wanted.get("group", 0))
    before = files.read(path)
    new = before is None or before.content != after.content
    if not tracker.note(path, before, after, show=(_shown(before, secret), _shown(after, secret, new))):
        return False
    if not check_mode:
        files.write(path, after)
    return True


def ensure_link(path: str, target: str, tracker: Tracker, check_mode: bool) -> bool:
    """Make one symbolic link, such as one that enables a unit. Return whether something changed."""
    before = None
    if os.path.lexists(path):
        if not os.path.islink(path):
            raise files.UnsafePathError(f"{path} exists and is not a symbolic link: move it away")
        # systemctl may write a relative one.
        before = os.path.normpath(os.path.join(os.path.dirname(path), os.readlink(path)))
    if not tracker.note(path, before and f"link to {before}\n", f"link to {target}\n"):
        return False
    if not check_mode:
        files.link(path, target)
    return True


def _shown(file: File | None, secret: bool, new: bool = False) -> str:
    if file is None:
        return ""
    head = f"# {file.uid}:{file.gid} {file.mode:04o}\n"
    if secret:
        return f"{head}(secret{', new' if new else ''})\n"
    return head + file.content.decode(errors="replace")
