# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Text that comes from containers and accounts, before a terminal, the journal or a file gets it."""

from __future__ import annotations

import re

COLOUR = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")  # and whatever else is of this form, as ECMA-48 has it


def printable(text: str) -> str:
    """Without what a terminal would obey: escape sequences, carriage returns, marks that turn the direction."""
    return "".join(char if char.isprintable() or char in "\n\t" else "?" for char in COLOUR.sub("", text))
