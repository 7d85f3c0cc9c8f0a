# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Give programs that take a path, such as docker compose, one to an engine's socket on which no link is followed.

An account can change its directory at any time, also after a check. So root uses a second mount of this directory, with
the option nosymfollow. It is read-only, because it is used only for connections, and `rm -rf /run/carrel` must not
empty the account's directory. An engine that restarts makes its new socket there, too. After a boot, or if the
account's services were stopped and started, the account has a new directory.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ansible_collections.carrel.jupyter.plugins.module_utils._host import directories, engine_socket, files

FOLDER = "/run/carrel/engines"
# linux/mount.h and linux/fcntl.h. mount(2) would follow links until a second call sets the option.
_OPEN_TREE, _MOVE_MOUNT, _MOUNT_SETATTR = 428, 429, 442
_CLONE, _EMPTY_PATH, _FROM_EMPTY_PATH, _TO_EMPTY_PATH = 0x1, 0x1000, 0x4, 0x40
_ATTRIBUTES = 0x1 | 0x2 | 0x4 | 0x8 | 0x200000  # RDONLY, NOSUID, NODEV, NOEXEC, NOSYMFOLLOW
_PRIVATE = 1 << 18
_DETACH, _NOFOLLOW = 0x2, 0x8
_SET = os.ST_RDONLY | 0x2000  # of statvfs; the second is nosymfollow

_library = ctypes.CDLL(None, use_errno=True)


@dataclass
class Sockets:
    paths: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def mounted(sockets: Iterable[str], folder: str = FOLDER) -> Sockets:
    """Return a path for each socket. Without an engine of the account's own, nothing answers there."""
    found = Sockets()
    with contextlib.ExitStack() as stack:
        sources: dict[str, int] = {}
        for path in sockets:
            directory, name = os.path.split(path)
            found.paths[path] = f"{folder}/{_escaped(directory)}/{name}"
            try:
                descriptor, of_root = engine_socket.opened_directory(directory)
            except FileNotFoundError:
                continue  # the account's services do not run
            except OSError as error:
                found.problems.append(f"the engine at {path} cannot be used: {error}")
                continue
            stack.callback(os.close, descriptor)
            if of_root:
                found.paths[path] = path
            else:
                sources[_escaped(directory)] = descriptor
        if any(path != usable for path, usable in found.paths.items()):
            _mount(sources, folder)
    return found


def _mount(sources: Mapping[str, int], folder: str) -> None:
    parent, name = os.path.split(folder)
    with contextlib.ExitStack() as stack:
        above = files.open_directory(parent, create=True)
        stack.callback(os.close, above)
        below = directories.root_only(above, name, folder)
        stack.callback(os.close, below)
        fcntl.flock(below, fcntl.LOCK_EX)  # another run may do the same
        for place in os.listdir(below):
            if not _is_current(f"{folder}/{place}", _original(place)):
                _unmount(f"{folder}/{place}")
        for place in sorted(sources.keys() - set(os.listdir(below))):
            os.mkdir(place, 0o700, dir_fd=below)
            target = os.open(place, engine_socket.DIRECTORY, dir_fd=below)
            try:
                _mount_one(sources[place], target)
            finally:
                os.close(target)


def _mount_one(source: int, target: int) -> None:
    """Mount a directory read-only and without links, in one step."""
    tree = _call(_OPEN_TREE, source, b"", _CLONE | _EMPTY_PATH | os.O_CLOEXEC)
    try:
        attributes = (ctypes.c_uint64 * 4)(_ATTRIBUTES, 0, _PRIVATE, 0)
        _call(_MOUNT_SETATTR, tree, b"", _EMPTY_PATH, attributes, ctypes.c_size_t(ctypes.sizeof(attributes)))
        _call(_MOVE_MOUNT, tree, b"", target, b"", _FROM_EMPTY_PATH | _TO_EMPTY_PATH)
    finally:
        os.close(tree)


def _is_current(place: str, directory: str) -> bool:
    try:
        descriptor, _unused = engine_socket.opened_directory(directory)
    except OSError:
        return False
    try:
        same = os.path.samestat(os.fstat(descriptor), os.stat(place, follow_symlinks=False))
        return same and os.statvfs(place).f_flag & _SET == _SET
    finally:
        os.close(descriptor)


def _unmount(place: str) -> None:
    while _library.umount2(place.encode(), _DETACH | _NOFOLLOW) == 0:
        pass  # several may be on top of each other
    os.rmdir(place)


def _call(number: int, *arguments: object) -> int:
    result: int = _library.syscall(number, *arguments)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def _escaped(directory: str) -> str:
    """Return a directory's name in the folder: run-user-1001 for /run/user/1001."""
    return directory.strip("/").replace("=", "=3d").replace("-", "=2d").replace("/", "-")


def _original(place: str) -> str:
    return "/" + place.replace("-", "/").replace("=2d", "-").replace("=3d", "=")
