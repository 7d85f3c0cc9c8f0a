# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the directories that a hub's groups share, and the file that says who gets which."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Mapping
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._changes.file import File, json_text
from ansible_collections.carrel.jupyter.plugins.module_utils._changes.tracker import Tracker
from ansible_collections.carrel.jupyter.plugins.module_utils._host import directories, files, mounts
from ansible_collections.carrel.jupyter.plugins.module_utils._host.directories import Wanted
from ansible_collections.carrel.jupyter.plugins.module_utils._host.quotas import Quotas
from ansible_collections.carrel.jupyter.plugins.module_utils._people import mounts_file
from ansible_collections.carrel.jupyter.plugins.module_utils._people.group_mounts import Plan
from ansible_collections.carrel.jupyter.plugins.module_utils._site.quotas import ForeignProjectError

PASSAGE = Wanted(0, 0, 0o711)


class Directories:
    """The directories of groups, below the instance's data."""

    def __init__(self, path: str, leaf: Wanted, check_mode: bool, limits: Mapping[str, int]) -> None:
        self.path = path
        self.leaf = leaf
        self.check_mode = check_mode
        self.limits = {f"{path}/{source}": limit for source, limit in limits.items()}
        self.quotas = Quotas(check_mode)
        self.before: list[str] = []
        self.after: list[str] = []
        self.problems: list[str] = []
        self.refused: set[str] = set()  # directories that nobody gets
        self.without_acl: list[str] = []

    def _ensure(self, parent: int | None, name: str, path: str, wanted: Wanted) -> int | None:
        descriptor, before, after = directories.ensure(parent, name, path, wanted, self.check_mode)
        if before != after:
            self.before += [f"{path} {before}"] if before else []
            self.after.append(f"{path} {after}")
        return descriptor

    def make(self, sources: list[str]) -> None:
        """Make all directories. An error in one, or in a folder above it, does not affect the others."""
        with contextlib.ExitStack() as stack:
            opened: dict[str, int | None] = {}

            def keep(descriptor: int | None) -> int | None:
                if descriptor is not None:
                    stack.callback(os.close, descriptor)
                return descriptor

            def outside() -> int | None:
                with contextlib.suppress(FileNotFoundError):
                    return keep(files.open_directory(os.path.dirname(self.path), create=not self.check_mode))
                return None

            def folder(path: str) -> int | None:
                if path not in opened:
                    above, name = os.path.split(path)
                    parent = outside() if path == self.path else folder(above)
                    opened[path] = keep(self._ensure(parent, name, path, PASSAGE))
                return opened[path]

            for source in sources:
                above, leaf = os.path.split(f"{self.path}/{source}")
                try:
                    self._make_leaf(folder(above), leaf, f"{above}/{leaf}")
                except (files.UnsafePathError, directories.ForeignOwnerError) as error:
                    self.refused.add(f"{above}/{leaf}")
                    # Many directories may have the same folder above them.
                    self.problems += [] if str(error) in self.problems else [str(error)]

    def _make_leaf(self, parent: int | None, name: str, path: str) -> None:
        try:
            descriptor = self._ensure(parent, name, path, self.leaf)
        except directories.ForeignOwnerError as error:
            self.problems.append(str(error))
            return
        try:
            self._limit(parent if descriptor is None else descriptor, path, missing=descriptor is None)
            if descriptor is not None and not directories.has_acls(descriptor):
                self.without_acl.append(path)
        finally:
            if descriptor is not None:
                os.close(descriptor)

    def _limit(self, at: int | None, path: str, missing: bool) -> None:
        if at is None:
            return
        try:
            before, after = self.quotas.ensure([(at, path)], self.limits[path], missing)
        except ForeignProjectError as error:
            self.problems.append(str(error))
            return
        if before != after:
            self.before += [f"{path} {before}"] if before else []
            self.after.append(f"{path} {after}")

    def warnings(self) -> list[str]:
        if not self.without_acl:
            return self.quotas.warnings()
        return [
            *self.quotas.warnings(),
            f"{', '.join(self.without_acl[:3])}: the file system has no ACLs, so a umask such as 077 keeps "
            "a group from writing its members' files",
        ]


def apply(given: Mapping[str, Any], plan: Plan, uid: int, gid: int, check_mode: bool, tracker: Tracker) -> Directories:
    """Take missing directories out of the file, make them, and write the file. `problems` has what failed."""
    path = given["path"].rstrip("/")
    made = Directories(path, Wanted(uid, gid, 0o2770, enforce=True, acl=True), check_mode, plan.limits)
    try:
        before = files.read(given["file"])
        try:
            write(given, check_mode, before, mounts_file.without(plan.content, mounts.unusable(plan.content, path)))
            made.make(sorted(plan.sources))
        finally:
            tracker.note(path, *("".join(f"{line}\n" for line in lines) for lines in (made.before, made.after)))
            gone = made.refused if check_mode else mounts.unusable(plan.content, path)
            write(given, check_mode, before, mounts_file.without(plan.content, gone), tracker)
    except files.UnsafePathError as error:
        made.problems.append(f"{error}. The mounts file was left as it is")
    except OSError as error:
        why = "the disk, or a quota, is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else error.strerror
        made.problems.append(
            f"{error.filename or given['file']}: {why}. No new mount takes effect; remove the cause and run again"
        )
    if made.refused:
        shown = ", ".join(sorted(made.refused)[:3])
        made.problems.append(f"until this is fixed, nobody gets {shown}{' and others' * (len(made.refused) > 3)}")
    return made


def write(
    given: Mapping[str, Any], check_mode: bool, before: File | None, content: Mapping[str, Any],
    tracker: Tracker | None = None,
) -> None:  # fmt: skip
    """Put the mounts file in place. BEFORE is the file that the run found, for TRACKER to compare."""
    path, group = given["file"], given["file_group"]
    owner = (0o644, 0, 0) if group is None else (0o640, 0, group)
    after = File(json_text(content).encode(), *owner)
    if tracker:
        tracker.note(path, before, after, show=(before.describe() if before else "", after.describe()))
    if not check_mode and files.read(path) != after:
        files.write(path, after)
