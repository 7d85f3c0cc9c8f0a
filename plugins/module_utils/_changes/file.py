# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The wanted state of a file."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class File:
    content: bytes
    mode: int = 0o644
    uid: int = 0
    gid: int = 0

    def describe(self) -> str:
        """Owner, mode and content as text: what a difference shows."""
        return f"# owner {self.uid}:{self.gid}, mode {self.mode:04o}\n{self.content.decode('utf-8', 'replace')}"
