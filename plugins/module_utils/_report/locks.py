# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which files are locked, as the kernel's lists say.

Nothing here takes a lock itself: a reset that starts at this moment would believe that another one runs.
"""

from __future__ import annotations

import re

Device = tuple[int, int]  # major and minor number


def held(proc_locks: str) -> set[tuple[Device, int]]:
    """Return the devices and inodes of files that somebody has locked with flock(2) (proc_locks(5)).

    >>> held("1: FLOCK  ADVISORY  WRITE 7 fe:00:2150 0 EOF\\n")
    {((254, 0), 2150)}
    """
    found = re.findall(r"^\d+: FLOCK +\S+ +\S+ +-?\d+ ([0-9a-f]+):([0-9a-f]+):(\d+) ", proc_locks, re.MULTILINE)
    return {((int(major, 16), int(minor, 16)), int(inode)) for major, minor, inode in found}


def device(mount: str, mountinfo: str) -> Device | None:
    """Return the device of a mount with this id, as the list of locks has it; None if the mount is gone.

    On btrfs and overlayfs, stat(2) returns another one. Inodes alone do not do: whoever has a file system of their own,
    such as a container's /dev/shm, gets any number there.

    >>> device("40", "40 22 254:1 / /srv rw - ext4 /dev/vdb rw\\n")
    (254, 1)
    """
    found = re.search(rf"^{mount} \d+ (\d+):(\d+) ", mountinfo, re.MULTILINE)
    return None if found is None else (int(found[1]), int(found[2]))
