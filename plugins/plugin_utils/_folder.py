# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The digest of a folder on the control node, of what install_folder packs."""

from __future__ import annotations

import hashlib
from pathlib import Path


def stays_link(path: Path, folder: Path) -> bool:
    """Whether a path in the folder is a link that is packed as one. A link to a file outside becomes a copy of it."""
    return path.is_symlink() and (not path.is_file() or folder.resolve() in path.resolve().parents)


def mode(path: Path) -> int:
    """Return a file's mode in the archive. As in git, only whether its owner may execute it counts, not the umask."""
    return 0o755 if path.stat().st_mode & 0o100 else 0o644


def digest(folder: Path, salt: str) -> str:
    """Return the digest of what is packed; a link that stays one counts by its target's name."""
    total = hashlib.sha256(salt.encode())
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if stays_link(path, folder):
            total.update(repr((name, "link", str(path.readlink()))).encode())
        elif "__pycache__" in path.parts:
            continue
        elif path.is_file():
            executable = mode(path) == 0o755
            total.update(repr((name, executable, hashlib.sha256(path.read_bytes()).hexdigest())).encode())
        elif path.is_dir() and not any(path.iterdir()):
            total.update(repr((name, "empty")).encode())
    return total.hexdigest()[:12]
