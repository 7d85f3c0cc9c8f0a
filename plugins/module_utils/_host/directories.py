# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make directories for others as root, through descriptors.

A directory's owner is set last, so a directory with the right owner is complete. An empty one that still belongs to
root is left over from a killed run. Any other directory with a foreign owner belongs to somebody, and is reported.
One of root's own is begun with a mode that it does not keep.
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
from ansible_collections.carrel.jupyter.plugins.module_utils._shared.told import Told

ACL = "system.posix_acl_default"
# acl(5) in the kernel's form (linux/posix_acl_xattr.h): user::rwx group::rwx other::---. With it, the umask does not
# change the mode of new files. It has no ids, so it means the same in every user namespace.
GROUP_ACL = struct.pack("<I", 2) + b"".join(
    struct.pack("<HHI", tag, bits, 0xFFFFFFFF) for tag, bits in ((1, 7), (4, 7), (0x20, 0))
)
TRASH = ".carrel-trash-"  # and the name of what is deleted: administrators and other purges have other names
NO_ACL = (errno.ENOTSUP, errno.EOPNOTSUPP)
ROUNDS = 20
UNFINISHED = 0o700


class ForeignOwnerError(Told):
    """A directory belongs to another account. The text says which one and what to do."""


class Step(enum.Enum):
    NOTHING = "nothing"
    MAKE = "make"  # also to finish a directory of a killed run
    REPAIR = "repair"


@dataclass(frozen=True)
class Wanted:
    uid: int
    gid: int
    mode: int
    # Whether group and mode are corrected later, too. Otherwise the owner may change them.
    enforce: bool = False
    acl: bool = False
    maker: int = 0  # owner of a directory that is not finished yet

    def __str__(self) -> str:
        return f"{self.uid}:{self.gid} {self.mode:04o}"


@dataclass(frozen=True)
class Found:
    uid: int
    gid: int
    mode: int
    empty: bool = False  # only read if a killed run may have begun it
    acl: bool | None = None  # None: the file system has no ACLs, or they do not matter

    def __str__(self) -> str:
        return f"{self.uid}:{self.gid} {self.mode:04o}"


def foreign(path: str, uid: int, gid: int, wanted: Wanted) -> str:
    """Describe the problem of a directory with this UID and GID, and what to do."""
    if wanted.uid == 0:
        return (
            f"{path} belongs to {uid}:{gid} but must belong to root, because it holds directories of other accounts: "
            "move it away"
        )
    return of_another(path, f"{uid}:{gid}", f"{wanted.uid}:{wanted.gid}")


def of_another(path: str, found: str, wanted: str) -> str:
    return (
        f"{path} belongs to {found}, not to {wanted}, and is left as it is. "
        f"To change the owner of its content, run: chown -R --no-dereference {wanted} {path}"
    )


def decide(path: str, found: Found | None, wanted: Wanted) -> Step:
    """Decide what to do about a directory."""
    if found is None:
        return Step.MAKE
    if found.uid != wanted.uid:
        if found.uid == wanted.maker and found.empty:
            return Step.MAKE
        raise ForeignOwnerError(foreign(path, found.uid, found.gid, wanted))
    if found.empty:
        return Step.MAKE
    if wanted.enforce and ((found.gid, found.mode) != (wanted.gid, wanted.mode) or (wanted.acl and found.acl is False)):
        return Step.REPAIR
    return Step.NOTHING


def open_child(parent: int, name: str, path: str) -> int:
    """Open a directory in PARENT. Links are refused."""
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
    """Whether the file system has ACLs."""
    return _acl(descriptor) is not None


def examine(descriptor: int, wanted: Wanted) -> Found:
    status = os.fstat(descriptor)
    mode = stat.S_IMODE(status.st_mode)
    of_maker = status.st_uid == wanted.maker != wanted.uid
    of_root = status.st_uid == wanted.uid == wanted.maker == 0 and mode == UNFINISHED != wanted.mode
    empty = (of_maker or of_root) and not os.listdir(descriptor)
    acl = _acl(descriptor) if wanted.acl else None
    return Found(status.st_uid, status.st_gid, mode, empty, acl)


def ensure(parent: int | None, name: str, path: str, wanted: Wanted, check_mode: bool) -> tuple[int | None, str, str]:
    """Make or correct a directory. Return its descriptor, and how it was and is. Both are equal if nothing changed.

    In check mode, the descriptor is None if the directory is missing, and PARENT is None if the parent is missing.
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
                    os.mkdir(name, UNFINISHED, dir_fd=parent)
                    descriptor = open_child(parent, name, path)
                    # Only root can write in PARENT, so this must be the new directory. Otherwise it is left alone.
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
    """Open a directory that only root can enter. It is made if it is missing."""
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
    """Delete everything in a directory that only root can enter.

    Each directory in it is first moved up into the trash, so nothing deeper than one step is ever opened. Thus depth
    and links do not matter, and a mounted file system is not deleted, because it cannot be moved.
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
                # The user may change or remove something at the same time. The next round handles this.
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
    """Delete an account's directory, however deep it is, and what a killed run has left of it.

    Its parent must belong to root.
    """
    parent, name = os.path.split(path)
    own = f"{TRASH}{name}"
    above = files.open_directory(parent)
    try:
        trash = root_only(above, own, f"{parent}/{own}")
        try:
            with contextlib.suppress(FileNotFoundError):
                os.rename(name, secrets.token_hex(8), src_dir_fd=above, dst_dir_fd=trash)
            empty_trash(trash, f"{parent}/{own}")
        finally:
            os.close(trash)
        os.rmdir(own, dir_fd=above)
    finally:
        os.close(above)


def is_left(path: str) -> bool:
    """Whether a killed run has left something of a directory that it was deleting."""
    parent, name = os.path.split(path)
    try:
        descriptor = files.open_directory(f"{parent}/{TRASH}{name}")
    except (FileNotFoundError, files.UnsafePathError):
        return False
    try:
        return os.fstat(descriptor).st_uid == 0
    finally:
        os.close(descriptor)
