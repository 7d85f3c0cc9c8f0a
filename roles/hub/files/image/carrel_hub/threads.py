# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A few threads for work of one kind, and an end to how many wait for them.

Of asyncio's own threads all kinds share a few, and so does the lookup of names.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from tornado import web

THREADS = 8
MOST_WAITING = 100  # a lecture; with servers that do not answer, the last of them waits for a few minutes
BUSY = "Too many people are logging in at the moment. Please try again in a minute."
T = TypeVar("T")


def _too_many() -> Exception:
    return web.HTTPError(503, BUSY)


class Threads:
    """By default for those who wait for somebody else's server. BUSY: what is raised where too many wait."""

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
