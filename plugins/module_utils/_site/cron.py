# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What programs started by cron have in common: who gets cron's mail, and what is installed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

# cron would take a line break for the end of the line, and what follows for one of root's jobs
_ADDRESS = r"[A-Za-z0-9_][A-Za-z0-9._+=-]*(?:@[A-Za-z0-9][A-Za-z0-9.-]*)?"
_MAILTO = re.compile(rf"(?:{_ADDRESS}(?:,{_ADDRESS})*)?")


def check_mailto(variable: str, mailto: str) -> None:
    """Raise a ValueError unless cron can tell these."""
    if not _MAILTO.fullmatch(mailto):
        raise ValueError(
            f"{variable} is {mailto!r}: write an account or an address, several with a comma between them,"
            " or '' for nobody"
        )


def program_files(path: str, program: str, folder: str, package: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return what install_files takes: the text of the command at PATH, and of each file of its package in FOLDER."""
    return [
        *({"path": f"{folder}/{name}", "content": text} for name, text in sorted(package.items())),
        {"path": path, "content": program, "mode": "0755"},
    ]
