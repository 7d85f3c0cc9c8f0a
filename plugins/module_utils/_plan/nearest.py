# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find the nearest known word, for a suggestion."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word closest to WORD, or None. Upper and lower case are equal, and so are - and _."""
    folded = {item.lower().replace("-", "_"): item for item in known}
    # SequenceMatcher takes quadratic time, and no real key is longer than this.
    close = difflib.get_close_matches(word[:64].lower().replace("-", "_"), folded, n=1, cutoff=0.6)
    return folded[close[0]] if close else None
