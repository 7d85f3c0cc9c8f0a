# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long a hub stands still while a class logs in at once, beside bcrypt in its event loop, as upstream has it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from testbed.run import ROOT, step

CLASS = 60
LOOK = 0.01


async def pause(work: Callable[[], Awaitable[Any]]) -> dict[str, float]:
    """The seconds that the work took, and the longest time in which the event loop did nothing else."""
    longest = 0.0

    async def look() -> None:
        nonlocal longest
        while True:
            before = time.perf_counter()
            await asyncio.sleep(LOOK)
            longest = max(longest, time.perf_counter() - before - LOOK)

    looking = asyncio.create_task(look())
    await asyncio.sleep(LOOK)
    began = time.perf_counter()
    await work()
    took = time.perf_counter() - began
    await asyncio.sleep(2 * LOOK)
    looking.cancel()
    return {"all_in_s": round(took, 2), "longest_pause_s": round(longest, 3)}


def compare(folder: Path) -> dict[str, Any]:
    os.environ.update(CARREL_HUB_DIRECTORY=str(folder), CARREL_HUB_STATE=str(folder))
    sys.path.insert(0, str(ROOT / "roles" / "hub" / "files" / "image"))
    from carrel_hub.native import CarrelNativeAuthenticator
    from jupyterhub import orm
    from nativeauthenticator import NativeAuthenticator
    from tornado.httputil import HTTPHeaders

    people = {f"student{number}": f"password {number}" for number in range(CLASS)}
    one = {"identity": "x", "admin": False, "memory": None, "swap": None, "cpus": None, "pids": None}
    roster = {"version": 1, "users": dict.fromkeys(people, one), "blocked": []}
    (folder / "roster.json").write_text(json.dumps(roster))
    (folder / "passwords.json").write_text(json.dumps(people))
    connection = SimpleNamespace(context=SimpleNamespace(address=("192.0.2.7", 1)))
    handler = SimpleNamespace(request=SimpleNamespace(connection=connection, headers=HTTPHeaders()))
    database = orm.new_session_factory("sqlite://")()
    ours = CarrelNativeAuthenticator(db=database, key=b"key")

    async def log_in() -> None:
        forms = [{"username": name, "password": password} for name, password in people.items()]
        if await asyncio.gather(*(ours.authenticate(handler, form) for form in forms)) != list(people):
            raise SystemExit("not all could log in")

    async def log_in_upstream() -> None:
        upstream = NativeAuthenticator(db=database)
        forms = [{"username": name, "password": password} for name, password in people.items()]
        await asyncio.gather(*(upstream.authenticate(handler, form) for form in forms))

    return {
        "people": CLASS,
        "first_time": asyncio.run(pause(log_in)),
        "again": asyncio.run(pause(log_in)),
        "in_the_event_loop": asyncio.run(pause(log_in_upstream)),
        "goal": "no pause of more than 0.5 s",
    }


def measure() -> dict[str, Any]:
    with step(f"{CLASS} people log in to a hub at once"), tempfile.TemporaryDirectory() as scratch:
        return compare(Path(scratch))
