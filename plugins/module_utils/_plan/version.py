# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The version of the collection. Each instance's record has the version that set it up."""

from __future__ import annotations

import re

# The same as in galaxy.yml, which an installed collection does not have.
VERSION = "0.3.0"


def order(version: str) -> tuple[int, ...]:
    """Return a sort key for versions (Semantic Versioning 2.0.0). Invalid versions come first."""
    found = re.fullmatch(r"([0-9]{1,9})\.([0-9]{1,9})\.([0-9]{1,9})(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?", version)
    return (*map(int, found.groups()[:3]), found[4] is None) if found else ()
