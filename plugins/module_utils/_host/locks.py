# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check whether somebody holds a lock, without taking it."""

from __future__ import annotations

import os
from pathlib import Path

from ansible_collections.carrel.jupyter.plugins.module_utils._report import locks


def locked(path: str) -> bool:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        inode = os.fstat(descriptor).st_ino
        device = locks.device(
            Path(f"/proc/self/fdinfo/{descriptor}").read_text(encoding="ascii"),
            Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace"),
        )
    finally:
        os.close(descriptor)
    return (device, inode) in locks.held(Path("/proc/locks").read_text(encoding="ascii"))
