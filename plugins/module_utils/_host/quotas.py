# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Set project quotas of directories through descriptors: quotactl_fd(2).

The limit is set last. A project without a limit may be left over from a killed run, so its files are marked again.
"""

from __future__ import annotations

import ctypes
import errno
import os
import secrets
import struct
from collections.abc import Sequence
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._host import files, projects
from ansible_collections.carrel.jupyter.plugins.module_utils._shared.disk import most_files
from ansible_collections.carrel.jupyter.plugins.module_utils._site import quotas as decided
from ansible_collections.carrel.jupyter.plugins.module_utils._site.quotas import Found, Step

# linux/quota.h and linux/dqblk_xfs.h
_QUOTACTL_FD = 443
_PROJECT_QUOTA = 2
_GET_QUOTA, _SET_QUOTA, _GET_STATE = 0x800007, 0x800008, 0x5805
_QUOTA = struct.Struct("8QI4x")  # struct if_dqblk: hard limit, soft limit, bytes, the same for files, …
_LIMITS_ALONE = 1 | 1 << 2  # QIF_BLIMITS, QIF_ILIMITS
_LIMITS_HOLD = 1 << 5  # FS_QUOTA_PDQ_ENFD
# EPERM: containers may not ask.
_NO_QUOTAS = (*projects.NO_PROJECTS, errno.ESRCH, errno.ENODEV, errno.ENOTBLK, errno.EPERM)
_UNKNOWN = (errno.ESRCH, errno.ENOENT)  # nothing is in the project

_library = ctypes.CDLL(None, use_errno=True)


class Quotas:
    """Sets the limits of one run, and collects warnings."""

    def __init__(self, check_mode: bool) -> None:
        self.check_mode = check_mode
        self._unenforced: list[str] = []
        self._deep: list[str] = []
        self._filled: list[str] = []

    def ensure(
        self, directories: Sequence[tuple[int, str]], limit: int | None, missing: bool = False, empty: bool = False
    ) -> tuple[str, str]:
        """Set one limit for all directories together. Return the old and the new limit in words.

        DIRECTORIES are descriptors and paths. MISSING, in check mode: the one descriptor is of the directory above.
        EMPTY: do nothing if there is content already.
        """
        path = directories[0][1]
        found = [Found(_limits_hold(directories[0][0]))] if missing else [examine(each) for each, _path in directories]
        step = decided.decide(path, found, limit)
        before = "" if missing else decided.text(found[0].own_limit, found[0].most_files)
        if empty and step is Step.MARK and not missing and os.listdir(directories[0][0]):
            self._filled.append(path)
            step = Step.NOTHING
        if step is Step.UNENFORCED:
            self._unenforced.append(path)
        if step in (Step.NOTHING, Step.UNENFORCED):
            return before, before
        wanted = decided.rounded(limit)
        if not self.check_mode:
            try:
                self._apply(directories, found[0], step, wanted)
            except BlockingIOError as error:
                raise decided.ForeignProjectError(
                    f"{path} gets no limit yet: a program holds a lease on {error.filename!r} in it. Stop the server "
                    "and run this again"
                ) from error
            except OSError as error:
                error.filename = error.filename or path
                raise
        # Even if the limit is the same, some files may be outside of it.
        return before if missing or step is not Step.MARK else decided.text(0), decided.text(wanted)

    def warnings(self) -> list[str]:
        too_deep = decided.too_deep(self._deep, projects.DEEPEST)
        return [*decided.unenforced(self._unenforced), *too_deep, *decided.filled(self._filled)]

    def _apply(self, directories: Sequence[tuple[int, str]], found: Found, step: Step, limit: int) -> None:
        lead = directories[0][0]
        project = found.project if found.ours else _free(lead)
        if step is Step.MARK:
            # With the old limit, the next run would believe that all files are marked, even if this run is killed.
            if found.own_limit:
                _set_limit(lead, project, 0)
            self._deep += [path for each, path in directories if not projects.put_all(each, project)]
        _set_limit(lead, project, limit)


def examine(directory: int) -> Found:
    enforced = _limits_hold(directory)
    project, hands_on = projects.of(directory)
    above = os.open("..", files.DIRECTORY, dir_fd=directory)
    try:
        inherited = project != 0 and projects.of(above) == (project, True)
    finally:
        os.close(above)
    counts = _quota(directory, project) if enforced and project else ()
    return Found(enforced, project, inherited, hands_on, *counts)


def _quotactl(descriptor: int, command: int, identity: int, buffer: Any) -> None:
    if _library.syscall(_QUOTACTL_FD, descriptor, command << 8 | _PROJECT_QUOTA, identity, buffer):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _set_limit(descriptor: int, project: int, limit: int) -> None:
    quota = _QUOTA.pack(limit // decided.BLOCK, 0, 0, most_files(limit), 0, 0, 0, 0, _LIMITS_ALONE)
    _quotactl(descriptor, _SET_QUOTA, project, ctypes.create_string_buffer(quota, len(quota)))


def _limits_hold(descriptor: int) -> bool:
    state = ctypes.create_string_buffer(128)
    try:
        _quotactl(descriptor, _GET_STATE, 0, state)
    except OSError as error:
        if error.errno in _NO_QUOTAS:
            return False
        raise
    (flags,) = struct.unpack_from("H", state.raw, 2)  # struct fs_quota_stat
    return bool(flags & _LIMITS_HOLD)


def _quota(descriptor: int, project: int) -> tuple[int, int, int, int]:
    """Return the project's limit, the bytes in it, its limit of files, and their number."""
    hard, _soft, used, most, _soft_files, count, *_more = _entry(descriptor, project)
    return hard * decided.BLOCK, used, most, count


def _entry(descriptor: int, project: int) -> tuple[int, ...]:
    buffer = ctypes.create_string_buffer(_QUOTA.size)
    try:
        _quotactl(descriptor, _GET_QUOTA, project, buffer)
    except OSError as error:
        if error.errno not in _UNKNOWN:
            raise
    return _QUOTA.unpack(buffer.raw)


def _free(descriptor: int) -> int:
    """Return an unused project. It is a random one, so that no list of them is needed."""
    while True:
        project = decided.FIRST + secrets.randbelow(decided.COUNT)
        if not any(_entry(descriptor, project)[:6]):
            return project
