# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Set the projects of files, for quotas: ioctl_xfs_fsgetxattr(2).

The program for backups links to this file, so it uses only the standard library. Restored files must have the project
of their new directory, because the kernel refuses to move other files there.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct

# struct fsxattr in linux/fs.h: flags come first, the project is the fourth field
_GET_ATTRIBUTES, _SET_ATTRIBUTES = 0x801C581F, 0x401C5820
_ATTRIBUTES = struct.Struct("5I8s")
_HANDS_ON = 0x200  # FS_XFLAG_PROJINHERIT
NO_PROJECTS = (errno.ENOSYS, errno.ENOTTY, errno.EOPNOTSUPP, errno.EINVAL)
DEEPEST = 300  # levels; each needs a descriptor


def of(descriptor: int) -> tuple[int, bool]:
    """Return the project, and whether new files in a directory inherit it. 0 if there are no projects."""
    try:
        flags, _size, _count, project, _more, _pad = _read(descriptor)
    except OSError as error:
        if error.errno in NO_PROJECTS:
            return 0, False
        raise
    return project, bool(flags & _HANDS_ON)


def follow(descriptor: int, above: int) -> None:
    """Put a file, or a directory with its content, into the project that files in ABOVE inherit, to move it there."""
    project, hands_on = of(above)
    wanted = project if hands_on else 0
    if of(descriptor)[0] != wanted:
        put_all(descriptor, wanted)


def put_all(directory: int, project: int) -> bool:
    """Put a directory and its content into the project, parents first, because new files inherit it from them.

    Links, sockets and other things that cannot be opened stay outside, because their size does not matter. Files that
    are DEEPEST levels down stay outside, too; returns False if there are any.
    """
    status, complete = os.fstat(directory), True
    put(directory, project)
    levels = [(directory, os.listdir(directory) if stat.S_ISDIR(status.st_mode) else [])]
    try:
        while levels:
            above, names = levels[-1]
            if not names:
                levels.pop()
                if levels:
                    os.close(above)
                continue
            child = _open(above, names.pop(), status.st_dev)
            if child is None:
                continue
            levels.append((child, []))
            put(child, project)
            if len(levels) > DEEPEST:
                complete = False
            elif stat.S_ISDIR(os.fstat(child).st_mode):
                levels[-1] = (child, os.listdir(child))
    finally:
        for child, _unused in levels[1:]:
            os.close(child)
    return complete


def put(descriptor: int, project: int) -> None:
    """Put one file or directory into the project. Directories pass it on, except for project 0."""
    flags, size, count, before, more, pad = _read(descriptor)
    wanted = flags & ~_HANDS_ON
    if project and stat.S_ISDIR(os.fstat(descriptor).st_mode):
        wanted |= _HANDS_ON
    if (before, flags) != (project, wanted):
        fcntl.ioctl(descriptor, _SET_ATTRIBUTES, _ATTRIBUTES.pack(wanted, size, count, project, more, pad))


def _read(descriptor: int) -> tuple[int, int, int, int, int, bytes]:
    found: tuple[int, int, int, int, int, bytes] = _ATTRIBUTES.unpack(
        fcntl.ioctl(descriptor, _GET_ATTRIBUTES, bytes(_ATTRIBUTES.size))
    )
    return found


def _open(above: int, name: str, device: int) -> int | None:
    """Open a file or directory in the same file system. None for anything else, or if it is gone.

    Its kind is checked first, because opening some kinds has effects. Its owner may replace it meanwhile, but not with
    a device: in a user namespace nobody can make devices.
    """
    try:
        mode = os.stat(name, dir_fd=above, follow_symlinks=False).st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            return None
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=above)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENXIO):
            return None
        raise
    status = os.fstat(descriptor)
    if status.st_dev == device and (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
        return descriptor
    os.close(descriptor)
    return None
