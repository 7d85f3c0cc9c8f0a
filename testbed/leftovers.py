# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Folders that modules and roles make on the machine itself, because they know no other place for their state."""

from __future__ import annotations

import contextlib
import os

FOLDERS = (
    "/var/lib/carrel", "/etc/carrel/reset", "/run/carrel/claims", "/run/carrel/docker", "/run/carrel/engines",
)  # fmt: skip


def remove_empty() -> None:
    """Remove these folders and those above them, at the end of all tests: another test may be making one."""
    for folder in FOLDERS:
        with contextlib.suppress(OSError):  # not there, or it has something of others
            os.removedirs(folder)
