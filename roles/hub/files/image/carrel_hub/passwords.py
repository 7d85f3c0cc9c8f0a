# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""bcrypt in a few threads, so that the hub answers everybody else while people log in."""

from __future__ import annotations

import os
import threading

import bcrypt

from .threads import BUSY, Threads

LONGEST = 72  # bytes that bcrypt reads
MOST_WAITING = 500  # with two threads the last of them waits for about a minute
LOWER_PRIORITY = 5  # behind the event loop, but not behind all that users compute
# A hash of nobody: refusing an unknown name takes as long as a wrong password.
NOBODY = b"$2b$12$FUgTvyOlPd/Bb9SjUHriy.VFFAN9mRVXMDQqCnBrM6YHoAAogx3IC"


class Refused(Exception):
    """A request is refused; the text is for the person."""


class Busy(Refused):
    """More people are waiting than can be served within a minute or so."""

    def __init__(self) -> None:
        super().__init__(BUSY)


def _step_back() -> None:
    """Leave the processor to the event loop (on Linux, priorities are a thread's own)."""
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
