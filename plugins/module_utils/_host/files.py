# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read and write files as root: as a whole or not at all, and never through a symbolic link.

A path is opened component by component with O_NOFOLLOW, so a link anywhere in it is an error, also if somebody makes
it at this moment. Modules need `read` and `write`:

    wanted = File(b"text", mode=0o640)
    if read(path) != wanted:
        write(path, wanted)
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import stat
import time

from ansible_collections.carrel.jupyter.plugins.module_utils._changes.file import File
from ansible_collections.carrel.jupyter.plugins.module_utils._shared.told import Told

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
LEFTOVER_SECONDS = 3600
LONGEST = 32 * 2**20  # bytes that are read of a file


class UnsafePathError(Told):
    """A path that root must not use. The text says why and what to do."""


def _explain(path: str, error: OSError) -> Exception:
    if error.errno in (errno.ELOOP, errno.ENOTDIR):
        return UnsafePathError(
            f"{path} is a symbolic link or not a directory: links are not followed; give the real path or remove it"
        )
    return error


def open_directory(path: str, create: bool = False) -> int:
    """Open a directory. With `create`, missing ones are made as root:root 0755."""
    if not os.path.isabs(path) or ".." in path.split("/"):
        raise UnsafePathError(f"{path} must be an absolute path without '..'")
    descriptor = os.open("/", DIRECTORY)
    walked = ""
    for name in filter(None, path.split("/")):
        walked += "/" + name
        try:
            if create:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(name, 0o755, dir_fd=descriptor)
                    _open_to_all(name, descriptor)
            child = os.open(name, DIRECTORY, dir_fd=descriptor)
        except OSError as error:
            raise _explain(walked, error) from error
        finally:
            os.close(descriptor)
        descriptor = child
    return descriptor


def _open_to_all(name: str, parent: int) -> None:
    """Set the mode 0755, whatever the umask is."""
    descriptor = os.open(name, DIRECTORY, dir_fd=parent)
    try:
        os.fchmod(descriptor, 0o755)
    finally:
        os.close(descriptor)


def make_directory(path: str, owner: int, group: int, mode: int) -> None:
    """Make a directory under a temporary name, and rename it once its owner and mode are set."""
    parent, name = os.path.split(path)
    above = open_directory(parent, create=True)
    temporary = f".{name}.{secrets.token_hex(8)}"
    try:
        os.mkdir(temporary, 0o700, dir_fd=above)
        descriptor = os.open(temporary, DIRECTORY, dir_fd=above)
        try:
            os.fchown(descriptor, owner, group)
            os.fchmod(descriptor, mode)
        finally:
            os.close(descriptor)
        os.rename(temporary, name, src_dir_fd=above, dst_dir_fd=above)
    finally:
        os.close(above)


def read(path: str, longest: int = LONGEST) -> File | None:
    """Read a file. None if it, or a directory above it, does not exist. Files that are too long are refused."""
    parent, name = os.path.split(path)
    try:
        directory = open_directory(parent)
    except FileNotFoundError:
        return None
    try:
        # O_NONBLOCK: somebody may have put a pipe there, and opening it must not wait for a writer.
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _explain(path, error) from error
    finally:
        os.close(directory)
    with open(descriptor, "rb") as stream:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise UnsafePathError(f"{path} is not a regular file: move it away")
        content = stream.read(longest + 1)
        if len(content) > longest:
            raise UnsafePathError(f"{path} has more than {longest} bytes: move it away")
        return File(content, stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid)


def read_text(path: str) -> str | None:
    file = read(path)
    return None if file is None else file.content.decode("utf-8")


def write(path: str, file: File) -> None:
    """Put a file in place in one step. Readers see the old or the new file, also after a crash."""
    parent, name = os.path.split(path)
    directory = open_directory(parent, create=True)
    temporary = f".{name}.{secrets.token_hex(8)}"
    try:
        _refuse_other_kinds(path, name, directory)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(temporary, flags, 0o600, dir_fd=directory)
        try:
            with open(descriptor, "wb") as stream:
                os.fchown(descriptor, file.uid, file.gid)
                os.fchmod(descriptor, file.mode)
                stream.write(file.content)
                stream.flush()
                os.fsync(descriptor)
            os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=directory)
            raise
        os.fsync(directory)
        _sweep(name, directory)
    finally:
        os.close(directory)


def link(path: str, target: str) -> None:
    """Put a symbolic link in place in one step."""
    parent, name = os.path.split(path)
    directory = open_directory(parent, create=True)
    temporary = f".{name}.{secrets.token_hex(8)}"
    try:
        os.symlink(target, temporary, dir_fd=directory)
        try:
            os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
        except BaseException:
            os.unlink(temporary, dir_fd=directory)
            raise
        _sweep(name, directory)
    finally:
        os.close(directory)


def _sweep(name: str, directory: int) -> None:
    """Remove temporary files of killed runs. Newer ones may belong to a run that is at work."""
    for other in os.listdir(directory):
        if re.fullmatch(rf"\.{re.escape(name)}\.[0-9a-f]{{16}}", other):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - os.stat(other, dir_fd=directory, follow_symlinks=False).st_mtime > LEFTOVER_SECONDS:
                    os.unlink(other, dir_fd=directory)


def _refuse_other_kinds(path: str, name: str, directory: int) -> None:
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISREG(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
            raise UnsafePathError(f"{path} exists and is not a regular file (a symbolic link?): move it away")


def remove(path: str) -> None:
    """Remove a file, or a link itself, if it exists."""
    parent, name = os.path.split(path)
    try:
        directory = open_directory(parent)
    except FileNotFoundError:
        return
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=directory)
    finally:
        os.close(directory)
