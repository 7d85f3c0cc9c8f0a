# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Directories for others, made by root through descriptors.

A directory's owner is set last: one with the right owner is complete, and an empty one that still belongs
to root is what a killed run left. Anything else with a foreign owner belongs to somebody, and is reported.
"""

from __future__ import annotations

import contextlib
import enum
import errno
import os
import secrets
import stat
import struct
from dataclasses import dataclass

from ansible_collections.carrel.jupyter.plugins.module_utils._host import files

ACL = "system.posix_acl_default"
# acl(5) in the kernel's form (linux/posix_acl_xattr.h): user::rwx group::rwx other::---. New files then get their mode
# without the umask. It names no ids, so it means the same in every user namespace.
GROUP_ACL = struct.pack("<I", 2) + b"".join(
    struct.pack("<HHI", tag, bits, 0xFFFFFFFF) for tag, bits in ((1, 7), (4, 7), (0x20, 0))
)
TRASH = ".trash"
NO_ACL = (errno.ENOTSUP, errno.EOPNOTSUPP)
ROUNDS = 20


class ForeignOwnerError(Exception):
    """A directory that belongs to another account; the text says which and what to do."""


class Step(enum.Enum):
    NOTHING = "nothing"
    MAKE = "make"  # also what a killed run left
    REPAIR = "repair"


@dataclass(frozen=True)
class Wanted:
    uid: int
    gid: int
    mode: int
    # Group and mode are kept as declared. Otherwise they are the owner's to change, once the directory is made.
    enforce: bool = False
    acl: bool = False
    maker: int = 0  # owner of an empty directory that was not finished

    def __str__(self) -> str:
        return f"{self.uid}:{self.gid} {self.mode:04o}"


@dataclass(frozen=True)
class Found:
    uid: int
    gid: int
    mode: int
    empty: bool = False  # asked only of the maker's
    acl: bool | None = None  # None: the file system has none, or it does not matter

    def __str__(self) -> str:
        return f"{self.uid}:{self.gid} {self.mode:04o}"


def foreign(path: str, uid: int, gid: int, wanted: Wanted) -> str:
    """The problem of a directory with this UID and GID, and what to do."""
    if wanted.uid == 0:
        return (
            f"{path} belongs to {uid}:{gid} but must belong to root, because it holds directories of other accounts: "
            "move it away"
        )
    owner = f"{wanted.uid}:{wanted.gid}"
    return (
        f"{path} belongs to {uid}:{gid}, not to {owner}, and is left as it is. "
        f"To change the owner of its content, run: chown -R --no-dereference {owner} {path}"
    )


def decide(path: str, found: Found | None, wanted: Wanted) -> Step:
    """What to do about a directory."""
    if found is None:
        return Step.MAKE
    if found.uid != wanted.uid:
        if found.uid == wanted.maker and found.empty:
            return Step.MAKE
        raise ForeignOwnerError(foreign(path, found.uid, found.gid, wanted))
    if wanted.enforce and ((found.gid, found.mode) != (wanted.gid, wanted.mode) or (wanted.acl and found.acl is False)):
        return Step.REPAIR
    return Step.NOTHING


def open_child(parent: int, name: str, path: str) -> int:
    """A descriptor of a directory in PARENT; links are refused."""
    try:
        return os.open(name, files.DIRECTORY, dir_fd=parent)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise files.UnsafePathError(
                f"{path} is a symbolic link or not a directory: links are not followed; move it away"
            ) from error
        error.filename = path
        raise


def _acl(descriptor: int) -> bool | None:
    try:
        return os.getxattr(descriptor, ACL) == GROUP_ACL
    except OSError as error:
        if error.errno in NO_ACL:
            return None
        if error.errno == errno.ENODATA:
            return False
        raise


def has_acls(descriptor: int) -> bool:
    """Whether its file system has them."""
    return _acl(descriptor) is not None


def examine(descriptor: int, wanted: Wanted) -> Found:
    status = os.fstat(descriptor)
    empty = status.st_uid == wanted.maker != wanted.uid and not os.listdir(descriptor)
    acl = _acl(descriptor) if wanted.acl else None
    return Found(status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode), empty, acl)


def ensure(parent: int | None, name: str, path: str, wanted: Wanted, check_mode: bool) -> tuple[int | None, str, str]:
    """The directory's descriptor (None in check mode if it is missing), and what it was and is: equal if unchanged.

    PARENT is None when it is missing itself, in check mode.
    """
    descriptor = None
    with contextlib.suppress(FileNotFoundError):
        if parent is not None:
            descriptor = open_child(parent, name, path)
    try:
        found = None if descriptor is None else examine(descriptor, wanted)
        step = decide(path, found, wanted)
        before = "" if step is Step.MAKE else str(found)
        if step is Step.NOTHING:
            return descriptor, before, before
        if parent is not None and not check_mode:
            try:
                if descriptor is None:
                    os.mkdir(name, 0o700, dir_fd=parent)
                    descriptor = open_child(parent, name, path)
                    # Only root may write in PARENT, so this is the one just made; if it is not, it is left alone.
                    decide(path, examine(descriptor, wanted), wanted)
                _apply(descriptor, wanted)
            except OSError as error:
                error.filename = path
                raise
        return descriptor, before, str(wanted)
    except BaseException:
        if descriptor is not None:
            os.close(descriptor)
        raise


def _apply(descriptor: int, wanted: Wanted) -> None:
    os.fchmod(descriptor, wanted.mode)
    if wanted.acl:
        try:
            os.setxattr(descriptor, ACL, GROUP_ACL)
        except OSError as error:
            if error.errno not in NO_ACL:
                raise
    os.fchown(descriptor, wanted.uid, wanted.gid)


def root_only(parent: int, name: str, path: str) -> int:
    """A descriptor of a directory that only root can enter, made if it is missing."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, 0o700, dir_fd=parent)
    descriptor = open_child(parent, name, path)
    status = os.fstat(descriptor)
    if status.st_uid != 0:
        os.close(descriptor)
        raise ForeignOwnerError(foreign(path, status.st_uid, status.st_gid, Wanted(0, 0, 0o700)))
    os.fchmod(descriptor, 0o700)
    return descriptor


def empty_trash(trash: int, path: str) -> None:
    """Delete all that is in a directory that only root can enter.

    Every directory found is first moved up into the trash itself: nothing deeper than one step is ever opened, so that
    neither depth nor a link matters, and a mounted file system, which cannot be moved, is not deleted.
    """
    for _unused in range(ROUNDS):
        pending = os.listdir(trash)
        if not pending:
            return
        while pending:
            _empty_one(trash, pending)
    raise OSError(errno.ENOTEMPTY, "something still writes there: stop its user's server and run again", path)


def _empty_one(trash: int, pending: list[str]) -> None:
    name = pending.pop()
    if not stat.S_ISDIR(os.stat(name, dir_fd=trash, follow_symlinks=False).st_mode):
        os.unlink(name, dir_fd=trash)
        return
    descriptor = os.open(name, files.DIRECTORY, dir_fd=trash)
    try:
        with os.scandir(descriptor) as entries:
            for entry in entries:
                # If its user changes or removes something meanwhile, the next round finds it.
                with contextlib.suppress(FileNotFoundError, IsADirectoryError):
                    if entry.is_dir(follow_symlinks=False):
                        moved = secrets.token_hex(8)
                        os.rename(entry.name, moved, src_dir_fd=descriptor, dst_dir_fd=trash)
                        pending.append(moved)
                    else:
                        os.unlink(entry.name, dir_fd=descriptor)
    finally:
        os.close(descriptor)
    try:
        os.rmdir(name, dir_fd=trash)
    except OSError as error:
        if error.errno != errno.ENOTEMPTY:
            raise


def remove_tree(path: str) -> None:
    """Delete a directory of an account's, however deep it is. Its parent must be root's."""
    parent, name = os.path.split(path)
    above = files.open_directory(parent)
    try:
        trash = root_only(above, TRASH, f"{parent}/{TRASH}")
        try:
            os.rename(name, secrets.token_hex(8), src_dir_fd=above, dst_dir_fd=trash)
            empty_trash(trash, f"{parent}/{TRASH}")
        finally:
            os.close(trash)
        os.rmdir(TRASH, dir_fd=above)
    finally:
        os.close(above)
