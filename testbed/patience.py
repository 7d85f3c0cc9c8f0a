# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long tests wait. A machine that has other work too is no failure, so both are far more than is needed."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

# Until something has happened by itself: whoever runs into this hangs. What happens sooner is not waited for.
PATIENCE = 300
# Above what is promised to end within a few seconds, below the 30 s and more of what is endless or slow on purpose.
SOON = 20

T = TypeVar("T")


def until(
    condition: Callable[[], T],
    what: str | Callable[[], str],
    seconds: float = PATIENCE,
    error: type[Exception] = AssertionError,
    pause: float = 0.2,
) -> T:
    """Wait until the condition is true and return what it is, or raise an error that says what did not happen."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise error(f"{what if isinstance(what, str) else what()}: not within {seconds:.0f} s")
        time.sleep(pause)
    return found
