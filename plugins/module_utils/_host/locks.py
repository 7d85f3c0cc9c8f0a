# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check whether somebody holds a lock, without taking it."""

from __future__ import annotations

import os
from pathlib import Path

from ansible_collections.carrel.jupyter.plugins.module_utils._host.mount_ids import mount_id
from ansible_collections.carrel.jupyter.plugins.module_utils._report import locks


def locked(path: str) -> bool:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        inode = os.fstat(descriptor).st_ino
        mountinfo = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
        device = locks.device(mount_id(descriptor), mountinfo)
    finally:
        os.close(descriptor)
    return (device, inode) in locks.held(Path("/proc/locks").read_text(encoding="ascii"))
