# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check whether somebody holds a lock, without taking it or opening its file."""

from __future__ import annotations

import os

from ansible_collections.carrel.jupyter.plugins.module_utils._report.status import locked_inodes


def locked(path: str) -> bool:
    try:
        inode = os.lstat(path).st_ino
    except FileNotFoundError:
        return False
    with open("/proc/locks", encoding="ascii") as locks:
        return inode in locked_inodes(locks.read())
