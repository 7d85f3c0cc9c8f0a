# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copy what is in a folder into another one, for other owners, as root and through descriptors.

What is newer in the target stays. A file gets its name once it is whole, and a new folder its owner once it is
complete, so the next copy completes one that was killed. Nothing is deleted.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import stat
from collections.abc import Callable
from dataclasses import dataclass, field

from ansible_collections.carrel.jupyter.plugins.module_utils._host import files
from ansible_collections.carrel.jupyter.plugins.module_utils._host.takeover import TakeoverError

DEEPEST = 200  # folders, of each of which two descriptors are open
SHOWN = 10
PART = ".carrel-part."
OWN = re.compile(rf"{re.escape(PART)}[0-9a-f]{{16}}")
WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
CHUNK = 1 << 30
BLOCK = 512  # st_blocks, stat(2)
LINKED = (errno.ELOOP, errno.ENOTDIR)
TODO = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "make room"),
    **dict.fromkeys((*LINKED, errno.EEXIST, errno.EISDIR, errno.ENOTEMPTY), "stop what writes there"),
    errno.EIO: "look at the disk (dmesg)",
}

# From uid and gid to those of the copy; None: what has these is not copied.
Owners = Callable[[int, int], "tuple[int, int] | None"]


class _OtherError(Exception):
    """A name has become something else since it was looked at."""


@dataclass
class Copied:
    files: int = 0
    bytes: int = 0  # on the disk; a file with several names counts, and is copied, once for each
    left: list[str] = field(default_factory=list)  # what was not copied, and why; the first ones
    left_count: int = 0

    def add(self, other: Copied) -> None:
        self.files += other.files
        self.bytes += other.bytes
        self.left = [*self.left, *other.left][:SHOWN]
        self.left_count += other.left_count


def copy(
    source: int, target: int | None, owners: Owners, check_mode: bool = False, durable: bool = False
) -> Copied:  # fmt: skip
    """Copy from one descriptor's folder to the other's. The folders themselves keep their owners and modes.

    In check mode nothing is written, and the target may be missing. DURABLE: a file gets its name once it is on the
    disk. Otherwise a power cut can leave names with damaged files, which the next copy keeps. Raises TakeoverError.
    """
    work = _Copy(os.fstat(source).st_dev, owners, check_mode, durable)
    work.content(source, target, "", 0)
    return work.done


class _Copy:
    def __init__(self, device: int, owners: Owners, check_mode: bool, durable: bool) -> None:
        self.device, self.owners, self.check_mode, self.done = device, owners, check_mode, Copied()
        self.durable = durable
        self.part = f"{PART}{secrets.token_hex(8)}"

    def content(self, source: int, target: int | None, above: str, depth: int) -> None:
        if target is not None and not self.check_mode:
            _clear(target)
        for name in os.listdir(source):
            shown = f"{above}{name}"
            if OWN.fullmatch(name):
                self._leave(shown, "has a name as a killed copy leaves it: remove it, or rename it")
                continue
            try:
                self._one(name, source, target, shown, depth)
            except FileNotFoundError:
                pass  # people's programs have removed it since the folder was read
            except _OtherError:
                self._leave(shown, "became something else while it was copied: look what it is, and copy it yourself")
            except OSError as error:
                todo = TODO.get(error.errno or 0, "see to that")
                raise TakeoverError(f"{shown}: {error.strerror}: {todo}, and run this again") from error

    def _one(self, name: str, source: int, target: int | None, shown: str, depth: int) -> None:
        status = os.stat(name, dir_fd=source, follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            self._folder(name, source, target, shown, depth)
        elif not stat.S_ISREG(status.st_mode) and not stat.S_ISLNK(status.st_mode):
            self._leave(shown, "is no file, folder or link")
        else:
            owner = self._owner(status, shown)
            if owner and self._is_newer(status, name, target, shown):
                self._put(name, source, target, status, owner)

    def _put(self, name: str, source: int, target: int | None, status: os.stat_result, owner: tuple[int, int]) -> None:
        if target is not None and not self.check_mode:
            try:
                if stat.S_ISLNK(status.st_mode):
                    _link(name, source, target, self.part, status, owner)
                else:
                    _file(name, source, target, self.part, status, owner, self.durable)
                os.rename(self.part, name, src_dir_fd=target, dst_dir_fd=target)
            except BaseException:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(self.part, dir_fd=target)
                raise
        self.done.files += 1
        self.done.bytes += status.st_blocks * BLOCK

    def _leave(self, shown: str, why: str) -> None:
        self.done.left_count += 1
        if len(self.done.left) < SHOWN:
            self.done.left.append(f"{shown} {why}")

    def _owner(self, status: os.stat_result, shown: str) -> tuple[int, int] | None:
        owner = self.owners(status.st_uid, status.st_gid)
        if owner is None:
            self._leave(shown, f"belongs to {status.st_uid}:{status.st_gid}, which is nobody in the containers")
        return owner

    def _folder(self, name: str, source: int, target: int | None, shown: str, depth: int) -> None:
        if depth == DEEPEST:
            self._leave(shown, f"is below {DEEPEST} folders")
            return
        try:
            inner = os.open(name, files.DIRECTORY, dir_fd=source)
        except OSError as error:
            if error.errno in LINKED:
                raise _OtherError from error
            raise
        try:
            status = os.fstat(inner)
            owner = self._owner(status, shown)
            if owner and status.st_dev != self.device:
                self._leave(shown, "is another file system")
            elif owner:
                self._into(inner, status, owner, name, target, shown, depth)
        finally:
            os.close(inner)

    def _into(
        self, inner: int, status: os.stat_result, owner: tuple[int, int], name: str, target: int | None, shown: str,
        depth: int,
    ) -> None:  # fmt: skip
        outer = None
        try:
            if target is not None:
                outer = self._open(name, target)
        except OSError as error:
            if error.errno not in LINKED:
                raise
            self._leave(shown, "is no folder in the copy")
            return
        try:
            # One that is root's is new, or was left by a copy that was killed.
            unfinished = outer is not None and os.fstat(outer).st_uid == 0
            self.content(inner, outer, f"{shown}/", depth + 1)
            if outer is not None and unfinished and not self.check_mode:
                _finish(outer, owner, stat.S_IMODE(status.st_mode), status)
        finally:
            if outer is not None:
                os.close(outer)

    def _open(self, name: str, target: int) -> int | None:
        if not self.check_mode:
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, 0o700, dir_fd=target)
        with contextlib.suppress(FileNotFoundError):
            return os.open(name, files.DIRECTORY, dir_fd=target)
        return None

    def _is_newer(self, status: os.stat_result, name: str, target: int | None, shown: str) -> bool:
        try:
            there = None if target is None else os.stat(name, dir_fd=target, follow_symlinks=False)
        except FileNotFoundError:
            there = None
        if there and stat.S_ISDIR(there.st_mode):
            self._leave(shown, "is a folder in the copy")
            return False
        return there is None or there.st_mtime_ns < status.st_mtime_ns


def _file(
    name: str, source: int, target: int, part: str, found: os.stat_result, owner: tuple[int, int], durable: bool
) -> None:  # fmt: skip
    descriptor = _opened(name, source, found)
    try:
        status = os.fstat(descriptor)
        written = os.open(part, WRITE, 0o600, dir_fd=target)
        try:
            _data(descriptor, written, status.st_size)
            # Containers here get no new privileges, so setuid and setgid mean nothing.
            _finish(written, owner, status.st_mode & 0o1777, status)
            if durable:
                os.fsync(written)
        finally:
            os.close(written)
    finally:
        os.close(descriptor)


def _opened(name: str, source: int, found: os.stat_result) -> int:
    """Open a file once it is known to be the one that was found, because to open a device can do something."""
    place = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=source)
    try:
        status = os.fstat(place)
        # Whoever owns the folder could have put somebody else's file there since.
        if not stat.S_ISREG(status.st_mode) or (status.st_dev, status.st_ino) != (found.st_dev, found.st_ino):
            raise _OtherError
        return os.open(f"/proc/self/fd/{place}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(place)


def _link(name: str, source: int, target: int, part: str, status: os.stat_result, owner: tuple[int, int]) -> None:
    try:
        leads_to = os.readlink(name, dir_fd=source)
    except OSError as error:
        if error.errno == errno.EINVAL:
            raise _OtherError from error
        raise
    os.symlink(leads_to, part, dir_fd=target)
    # By name, so only where nobody else can put another file there. Elsewhere the link stays root's.
    if os.fstat(target).st_uid == 0:
        os.chown(part, *owner, dir_fd=target, follow_symlinks=False)
    os.utime(part, ns=(status.st_atime_ns, status.st_mtime_ns), dir_fd=target, follow_symlinks=False)


def _clear(target: int) -> None:
    """Remove what a copy that was killed has left: all in a folder that is still root's, elsewhere only root's."""
    own = os.fstat(target).st_uid == 0
    for name in filter(OWN.fullmatch, os.listdir(target)):
        with contextlib.suppress(FileNotFoundError):
            status = os.stat(name, dir_fd=target, follow_symlinks=False)
            if not stat.S_ISDIR(status.st_mode) and (own or status.st_uid == 0):
                os.unlink(name, dir_fd=target)


def _finish(descriptor: int, owner: tuple[int, int], mode: int, status: os.stat_result) -> None:
    os.utime(descriptor, ns=(status.st_atime_ns, status.st_mtime_ns))
    os.fchmod(descriptor, mode)
    os.fchown(descriptor, *owner)


def _data(source: int, target: int, size: int) -> None:
    """Copy SIZE bytes at most, whatever is appended meanwhile, and leave holes out."""
    os.ftruncate(target, size)
    position = 0
    while position < size:
        try:
            position = os.lseek(source, position, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            return  # the rest is a hole
        end = min(size, os.lseek(source, position, os.SEEK_HOLE))
        os.lseek(target, position, os.SEEK_SET)
        while position < end:
            sent = os.sendfile(target, source, position, min(end - position, CHUNK))
            if sent == 0:
                return  # it was made shorter meanwhile
            position += sent
