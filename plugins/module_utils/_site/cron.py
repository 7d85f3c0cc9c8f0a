# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What programs that cron starts have in common: who gets cron's mail, and which files are installed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

# A line break in it would begin another job of root's.
_ADDRESS = r"[A-Za-z0-9_][A-Za-z0-9._+=-]*(?:@[A-Za-z0-9][A-Za-z0-9.-]*)?"
_MAILTO = re.compile(rf"(?:{_ADDRESS}(?:,{_ADDRESS})*)?")


def check_mailto(variable: str, mailto: str) -> None:
    """Raise a ValueError if cron cannot send mail to this address."""
    if not _MAILTO.fullmatch(mailto):
        raise ValueError(
            f"{variable} is {mailto!r}: write an account or an address, several with a comma between them,"
            " or '' for nobody"
        )


def program_files(path: str, program: str, folder: str, package: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return files for install_files: the command at PATH, and each file of its package in FOLDER."""
    return [
        *({"path": f"{folder}/{name}", "content": text} for name, text in sorted(package.items())),
        {"path": path, "content": program, "mode": "0755"},
    ]
