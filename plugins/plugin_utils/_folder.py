# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The digest of a folder on the control node."""

from __future__ import annotations

import hashlib
from pathlib import Path


def digest(folder: Path, salt: str) -> str:
    """Return the digest of a folder's files; a symbolic link counts by its target's name."""
    total = hashlib.sha256(salt.encode())
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            total.update(repr((name, "link", str(path.readlink()))).encode())
        elif path.is_file() and path.parent.name != "__pycache__":
            executable = bool(path.stat().st_mode & 0o100)
            total.update(repr((name, executable, hashlib.sha256(path.read_bytes()).hexdigest())).encode())
    return total.hexdigest()[:12]
