# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tell mounts apart.

The program for backups links to this file, so it uses only the standard library.
"""

from __future__ import annotations


def mount_id(descriptor: int) -> str:
    """Return the id of the mount that an open file is on (proc_pid_fdinfo(5)).

    A rename to another mount fails, even on the same file system, so devices do not do.
    """
    with open(f"/proc/self/fdinfo/{descriptor}", encoding="ascii") as file:
        return next(line.split()[1] for line in file if line.startswith("mnt_id:"))
