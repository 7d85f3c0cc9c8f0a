# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lists in messages, which must stay short however many there are."""

from __future__ import annotations

from collections.abc import Sequence


def some(texts: Sequence[str], most: int) -> str:
    """Return the first texts, and how many more there are.

    >>> some(["ada", "alan", "grace"], 2)
    'ada, alan and 1 more'
    """
    more = f" and {len(texts) - most} more" if len(texts) > most else ""
    return ", ".join(texts[:most]) + more
