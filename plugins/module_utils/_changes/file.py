# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The wanted state of a file, what a difference shows of it, and JSON as files have it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class File:
    content: bytes
    mode: int = 0o644
    uid: int = 0
    gid: int = 0

    def describe(self) -> str:
        """Owner, mode and content as text: what a difference shows."""
        return f"# owner {self.uid}:{self.gid}, mode {self.mode:04o}\n{self.content.decode('utf-8', 'replace')}"


def described(file: File | None, shown: str) -> str:
    """Describe a file with other content than its own, which is secret."""
    return File(shown.encode(), file.mode, file.uid, file.gid).describe() if file else ""


def json_text(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
