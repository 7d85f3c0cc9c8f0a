# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""On a full disk, JupyterLab deletes for good.

The trash counts towards a disk limit, JupyterLab can't empty it, and without free space nothing can be moved there.
"""

from __future__ import annotations

import os

ROOM = 256 << 20  # bytes, or a twentieth of a small disk
FILES = 1000  # or a twentieth of the few that a disk has room for


def configure(config, folder):
    """CONFIG is Jupyter's. In a container, the size of the disk is the disk limit."""
    try:
        found = os.statvfs(folder)
    except OSError:
        return
    no_room = found.f_bavail * found.f_frsize < min(found.f_blocks * found.f_frsize // 20, ROOM)
    if no_room or found.f_favail < min(found.f_files // 20, FILES):
        config.FileContentsManager.delete_to_trash = False
        config.FileContentsManager.always_delete_dir = True
