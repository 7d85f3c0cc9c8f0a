# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the words of a server's command line mean for its entry in the inventory."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

_OPTION = re.compile(r"--(?:[A-Za-z]+\.)?([a-z_]+)(?:=(.*))?", re.DOTALL)
_SECRETS = ("password", "hashed_password")
# What the role sets itself, from other keys.
_SET = ("allow_origin", "custom_display_url", "port", "ip", "no_browser")
_ROOT = ("root_dir", "notebook_dir")


@dataclass
class Options:
    kept: list[str] = field(default_factory=list)
    token: str | None = None
    base_url: str | None = None
    root: str | None = None
    # A password by its hash, or a log-in of another kind.
    other_login: bool = False


def read(words: Sequence[str]) -> Options:
    """Take out what has a key of its own."""
    found = Options()
    for word in words:
        match = _OPTION.fullmatch(word)
        name, value = (match[1], (match[2] or "").strip("\"'")) if match else ("", "")
        if name == "token":
            found.token = value or None
        elif name == "base_url":
            found.base_url = value
        elif name in _SECRETS or name.endswith(("_class", "password_required")):
            found.other_login = found.other_login or bool(value)
        elif name not in _SET:
            if name in _ROOT:
                found.root = value
            found.kept.append(word)
    return found
