# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run bcrypt in a few threads, so that the hub answers everybody else while people log in."""

from __future__ import annotations

import os
import threading

import bcrypt

from .threads import BUSY, Threads

LONGEST = 72  # bytes that bcrypt reads
MOST_WAITING = 500  # with two threads, the last one waits for about a minute
LOWER_PRIORITY = 5  # lower than the event loop's, but not lower than that of users' computations
# A hash for unknown names, so that refusing one takes as long as refusing a wrong password.
NOBODY = b"$2b$12$FUgTvyOlPd/Bb9SjUHriy.VFFAN9mRVXMDQqCnBrM6YHoAAogx3IC"


class Refused(Exception):
    """A request is refused. The text is for the user."""


class Busy(Refused):
    """Too many people are waiting to be served within about a minute."""

    def __init__(self) -> None:
        super().__init__(BUSY)


def _step_back() -> None:
    """Give the event loop priority. On Linux, each thread has its own priority."""
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LOWER_PRIORITY)


class Passwords:
    def __init__(self, threads: int = min(4, os.cpu_count() or 1), most_waiting: int = MOST_WAITING) -> None:
        self._threads = Threads("bcrypt", threads, most_waiting, Busy, _step_back)

    async def hash(self, password: str) -> bytes:
        return await self._threads.run(lambda: bcrypt.hashpw(password.encode(), bcrypt.gensalt()))

    async def check(self, password: str, hashed: bytes | None) -> bool:
        return await self._threads.run(
            lambda: bcrypt.checkpw(password.encode(), hashed or NOBODY) and hashed is not None
        )
