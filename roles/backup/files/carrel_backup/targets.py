# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which paths of an instance are backed up, and who owns them.

All directories above the first one that the account can read belong to root, so nobody can replace them with links.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import stat
from collections.abc import Iterator

from . import inside
from .escape import unescape

RENAME_EXCHANGE = 2
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Files of restores (old ones, and new ones not yet in place), and archived homes: only root enters these.
ARCHIVE = "data/users/.archive"
ROOTS = ("data/.kept", "data/.restoring", "data/.bringing", ARCHIVE)
TRASH = "data/users/.trash"  # what is being deleted; in backups of version 0.1.0
ARCHIVED = re.compile(r"(.+)-\d{8}T\d{6}Z(-\d+)?")
# The last two: the state of an archived instance's backups, copies from the control node.
LEFT_OUT = (*ROOTS, TRASH, ".backup", "build")
REPOSITORY = {"config", "data", "keys", "snapshots"}
# Databases have a dump; copies of their files would not be consistent.
DATABASES = ("data/database", "data/hub/jupyterhub.sqlite*")


def leaves(directory: str, account: int, groups: frozenset[int]) -> list[str]:
    """The paths that an archiver with these ids can read, relative to DIRECTORY, sorted."""
    above = os.open(directory, DIRECTORY)
    try:
        return sorted(_leaves(above, "", account, groups))
    finally:
        os.close(above)


def _leaves(above: int, path: str, account: int, groups: frozenset[int]) -> Iterator[str]:
    for name in os.listdir(above):
        child = f"{path}/{name}" if path else name
        status = os.stat(name, dir_fd=above, follow_symlinks=False)
        if child in LEFT_OUT and status.st_uid == 0:
            continue
        if not stat.S_ISDIR(status.st_mode) or not _descend(status, account, groups):
            yield child
            continue
        below = os.open(name, DIRECTORY, dir_fd=above)
        try:
            yield from _leaves(below, child, account, groups)
        finally:
            os.close(below)


def _descend(status: os.stat_result, account: int, groups: frozenset[int]) -> bool:
    """Whether it is a directory of root's that the account may pass but not list."""
    if status.st_uid != 0 or account == 0:
        return False
    bits = status.st_mode >> (3 if status.st_gid in groups else 0)
    return not bits & stat.S_IROTH


def user_of(leaf: str) -> str | None:
    """The user who owns the directory."""
    name = directory_of(leaf)
    return unescape(name) if name is not None else None


def directory_of(leaf: str) -> str | None:
    """The name of the directory with all of a user's directories."""
    parts = leaf.split("/")
    return parts[2] if parts[:2] == ["data", "users"] and len(parts) > 3 else None


def archived(directory: str) -> set[str]:
    """The users' directories that the site playbook has moved to the archive, and that are not there any more."""
    try:
        entries = os.listdir(f"{directory}/{ARCHIVE}")
    except FileNotFoundError:
        return set()
    names = {found[1] for found in map(ARCHIVED.fullmatch, entries) if found}
    return {name for name in names if not os.path.lexists(f"{directory}/data/users/{name}")}


def group_of(leaf: str) -> str | None:
    parts = leaf.split("/")
    return parts[2] if parts[:2] == ["data", "groups"] and len(parts) == 3 else None


def chosen(found: list[str], user: str | None, group: str | None) -> list[str]:
    """The paths of one user or one group; all paths without either."""
    if user is not None:
        return [leaf for leaf in found if user_of(leaf) == user]
    if group is not None:
        return [leaf for leaf in found if group_of(leaf) == group]
    return found


def give(repository: str, uid: int, gid: int) -> None:
    """Give a repository of root's to an account: one that a purge took from the account's predecessor.

    Only root can enter it, so nobody changes anything in it meanwhile. What restic does not make is left alone.
    """
    try:
        top = opened(repository)
    except OSError:  # restic reports it better
        return
    try:
        status = os.fstat(top)
        if status.st_uid != 0 or status.st_mode & 0o077 or not set(os.listdir(top)) >= REPOSITORY:
            return
        for path, status, folder in inside.walk(top):
            if stat.S_ISDIR(status.st_mode) or (stat.S_ISREG(status.st_mode) and status.st_nlink == 1):
                os.chown(os.path.basename(path), uid, gid, dir_fd=folder, follow_symlinks=False)
        os.fchown(top, uid, gid)  # last, or a killed run would leave the rest to nobody
    finally:
        os.close(top)


def opened(path: str, flags: int = DIRECTORY) -> int:
    """A descriptor of an absolute path, no part of which is a link or leads up."""
    if ".." in path.split("/"):
        raise OSError(errno.EINVAL, "the path has .. in it", path)
    parent, name = os.path.split(path)
    above = os.open("/", DIRECTORY)
    for part in filter(None, parent.split("/")):
        try:
            below = os.open(part, DIRECTORY, dir_fd=above)
        finally:
            os.close(above)
        above = below
    try:
        return os.open(name or ".", flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=above)
    finally:
        os.close(above)


def exchange(source: int, source_name: str, target: int, target_name: str) -> None:
    """renameat2(2): both names exist at every moment, also if we are killed."""
    library = ctypes.CDLL(None, use_errno=True)
    if library.renameat2(source, os.fsencode(source_name), target, os.fsencode(target_name), RENAME_EXCHANGE):
        number = ctypes.get_errno()
        error = FileNotFoundError if number == errno.ENOENT else OSError
        raise error(number, os.strerror(number), target_name)
