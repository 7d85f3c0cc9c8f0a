# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""When the files were written that a service reads only at its start."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable


def youngest(paths: Iterable[str]) -> float:
    """When the last of these was written, in seconds of the monotonic clock. Missing ones do not count."""
    times = [os.stat(path).st_mtime for path in paths if os.path.exists(path)]
    return max(times, default=0.0) - time.time() + time.monotonic()


def end_future(paths: Iterable[str]) -> None:
    """Date files now whose times are still to come, after a clock was set back. Each start would seem older than they.

    A file that cannot be dated, such as one on a read-only file system, stays as it is.
    """
    for path in paths:
        with contextlib.suppress(OSError):
            if os.stat(path).st_mtime > time.time():
                os.utime(path)
