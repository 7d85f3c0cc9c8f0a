# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the words of a server's command line mean for its entry in the inventory."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

_OPTION = re.compile(r"--(?:[A-Za-z0-9_]+\.)*([a-z_-]+)(?:=(.*))?", re.DOTALL)
_SECRETS = ("password", "hashed_password")
# What the role sets itself, from other keys.
_SET = ("allow_origin", "custom_display_url", "port", "ip")
_ROOT = ("root_dir", "notebook_dir")
_KNOWN = {"token", "base_url", *_SECRETS, *_SET, *_ROOT}


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
    found, left = Options(), [*words]
    while left:
        word = left.pop(0)
        match = _OPTION.fullmatch(word)
        name, value = (match[1].replace("-", "_"), match[2]) if match else ("", None)
        said = [word]
        if value is None and (name in _KNOWN or name.endswith("_class")) and left and not left[0].startswith("-"):
            value = left.pop(0)
            said.append(value)
        value = (value or "").strip("\"'")
        if name == "token":
            found.token = value or None
        elif name == "base_url":
            found.base_url = value
        elif name in _SECRETS or name.endswith(("_class", "password_required")):
            found.other_login = found.other_login or bool(value)
        elif name not in (*_SET, "no_browser"):
            if name in _ROOT:
                found.root = value
            found.kept += said
    return found
