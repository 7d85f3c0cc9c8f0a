# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that an account or a container may have written: only regular files, not through links, up to a size."""

from __future__ import annotations

import errno
import os
import stat

LONGEST = 8 * 2**20  # bytes


def read(path: str, longest: int = LONGEST) -> str:
    """The text of a regular file; an OSError for anything else."""
    # O_NONBLOCK: otherwise opening a pipe would wait for its writer
    descriptor = _regular(path, os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC))
    with open(descriptor, "rb") as stream:
        content = stream.read(longest + 1)
    if len(content) > longest:
        raise OSError(errno.EFBIG, f"the file has more than {longest} bytes", path)
    return content.decode("utf-8", "replace")


def open_to_write(path: str, flags: int = 0) -> int:
    """Open a regular file and keep its content."""
    return _regular(path, os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | flags, 0o644))


def _regular(path: str, descriptor: int) -> int:
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is not a regular file: remove it", path)
    return descriptor
