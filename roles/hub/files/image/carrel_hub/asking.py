# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask the host about backups, through a socket in a folder that only the hub has.

carrel_backup.answer in roles/backup gets one line of JSON. It answers with lines: the last one has `done` or `refused`,
the others have `percent`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SOCKET = Path(os.environ.get("CARREL_BACKUPS", "/run/carrel-backups")) / "socket"
AT_ONCE = 4  # further requests wait
MOST_LOOKS = 2  # of one user; otherwise somebody who reloads all the time would block others
LONGEST = 4 * 2**20  # bytes of one line
LOOK_SECONDS = 150.0
BRING_SECONDS = 3 * 60 * 60.0
AWAY = "The backups cannot be reached. Try again in a few minutes; if it stays so, tell your administrator."
ENDED = "It ended without an answer. Look whether the folder is there; if not, tell your administrator."
BUSY = "Something is being brought back for you already. Wait until that has ended."
PATIENCE = "Wait until the page that you asked for is there."


class Refused(Exception):
    """The host refuses. The text is for the user."""


@dataclass
class Work:
    """What a user brings back now, or brought back last."""

    what: str
    percent: int = 0
    folder: str | None = None
    refused: str | None = None
    ended: bool = False


@dataclass
class Backups:
    socket: Path = SOCKET
    works: dict[str, Work] = field(default_factory=dict)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _looks: Counter[str] = field(default_factory=Counter)
    _looking: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))
    _bringing: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))

    async def snapshots(self, user: str) -> list[dict[str, Any]]:
        found = await self._look({"what": "snapshots", "user": user})
        return list(found["snapshots"])

    async def folder(self, user: str, snapshot: str, parts: list[str], page: int) -> dict[str, Any]:
        asked = {"what": "folder", "user": user, "snapshot": snapshot, "parts": parts, "page": page}
        return await self._look(asked)

    def bring(self, user: str, snapshot: str, parts: list[str], what: str) -> None:
        """Begin to bring something back. `works` has the result. WHAT describes it for people."""
        before = self.works.get(user)
        if before and not before.ended:
            raise Refused(BUSY)
        work = self.works[user] = Work(what)
        asked = {"what": "bring", "user": user, "snapshot": snapshot, "parts": parts}
        task = asyncio.create_task(self._bring(work, asked))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _bring(self, work: Work, asked: dict[str, Any]) -> None:
        try:
            async with self._bringing:
                found = await self._ask(asked, BRING_SECONDS, lambda percent: setattr(work, "percent", percent))
            work.folder = str(found["folder"])
        except Refused as refused:
            work.refused = str(refused)
        except Exception:
            work.refused = ENDED
            raise
        finally:
            work.ended = True

    async def _look(self, asked: dict[str, Any]) -> dict[str, Any]:
        user = asked["user"]
        if self._looks[user] >= MOST_LOOKS:
            raise Refused(PATIENCE)
        self._looks[user] += 1
        try:
            async with self._looking:
                return await self._ask(asked, LOOK_SECONDS, lambda percent: None)
        finally:
            self._looks[user] -= 1

    async def _ask(self, asked: dict[str, Any], seconds: float, tell: Callable[[int], None]) -> dict[str, Any]:
        writer = None
        end = time.monotonic() + seconds
        try:
            reader, writer = await asyncio.open_unix_connection(str(self.socket), limit=LONGEST)
            writer.write(json.dumps(asked).encode() + b"\n")
            await writer.drain()
            while line := await asyncio.wait_for(reader.readline(), max(end - time.monotonic(), 0)):
                answer = json.loads(line)
                if "refused" in answer:
                    raise Refused(str(answer["refused"]))
                if "done" in answer:
                    found: dict[str, Any] = answer["done"]
                    return found
                tell(int(answer["percent"]))
        except (OSError, ValueError, KeyError, TypeError, asyncio.TimeoutError) as error:
            raise Refused(AWAY if writer is None else ENDED) from error
        finally:
            if writer is not None:
                with contextlib.suppress(OSError):
                    writer.close()
        raise Refused(ENDED)
