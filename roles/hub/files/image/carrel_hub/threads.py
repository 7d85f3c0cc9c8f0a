# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Threads for those who wait for somebody else's server. Of asyncio's own, all waiters share a few, and so do names."""

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


class Threads:
    """Those of one authenticator."""

    def __init__(self, threads: int = THREADS, most_waiting: int = MOST_WAITING) -> None:
        self._threads = ThreadPoolExecutor(threads, "asking")
        self._most = most_waiting
        self._waiting = 0

    async def run(self, work: Callable[[], T]) -> T:
        if self._waiting >= self._most:
            raise web.HTTPError(503, BUSY)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._waiting -= 1
