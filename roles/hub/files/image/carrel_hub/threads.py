# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A few threads for one kind of work, with a limit on how many requests may wait.

asyncio's own threads are few, and all kinds of work share them, including the look-up of names.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from tornado import web

THREADS = 8
MOST_WAITING = 100  # a lecture; if servers do not answer, the last one waits for a few minutes
BUSY = "Too many people are logging in at the moment. Please try again in a minute."
T = TypeVar("T")


def _too_many() -> Exception:
    return web.HTTPError(503, BUSY)


class Threads:
    """Threads, by default for requests to other servers. BUSY is raised if too many wait."""

    def __init__(
        self,
        name: str = "asking",
        threads: int = THREADS,
        most_waiting: int = MOST_WAITING,
        busy: Callable[[], Exception] = _too_many,
        begin: Callable[[], object] | None = None,
    ) -> None:
        self._threads = ThreadPoolExecutor(threads, name, begin)
        self._most = most_waiting
        self._busy = busy
        self._waiting = 0

    async def run(self, work: Callable[[], T]) -> T:
        if self._waiting >= self._most:
            raise self._busy()
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._waiting -= 1
