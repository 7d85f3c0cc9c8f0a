# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long tests wait. A machine that has other work too is no failure, so both are far more than is needed."""

from __future__ import annotations

import time
from collections.abc import Callable

# Until something has happened by itself: whoever runs into this hangs. What happens sooner is not waited for.
PATIENCE = 300
# Above what is promised to end within a few seconds, below the 30 s and more of what is endless or slow on purpose.
SOON = 20


def until(condition: Callable[[], object], what: str, seconds: float = PATIENCE) -> None:
    """Wait until the condition is true; an AssertionError that says what did not happen."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.2)
