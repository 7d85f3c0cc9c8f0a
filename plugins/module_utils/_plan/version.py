# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The version of the collection, which is recorded with everything that it deploys."""

from __future__ import annotations

import re

# As in galaxy.yml, which is not part of an installed collection.
VERSION = "0.2.0"


def order(version: str) -> tuple[int, ...]:
    """The sort key of versions (Semantic Versioning 2.0.0); invalid versions come first."""
    found = re.fullmatch(r"([0-9]{1,9})\.([0-9]{1,9})\.([0-9]{1,9})(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?", version)
    return (*map(int, found.groups()[:3]), found[4] is None) if found else ()
