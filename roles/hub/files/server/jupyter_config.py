# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep users' servers usable while the hub restarts, and running while they compute.

All of Jupyter's programs in users' containers read this file.

A server asks the hub every ten seconds who somebody is (HubOAuth.cache_max_age), so people who are removed lose access
soon. While the hub does not answer, its last answer counts, for as long as a restart may take. A new answer counts at
once.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import os
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

REMEMBERED_SECONDS = 180.0
PATIENCE_SECONDS = 1.0  # if the hub's container is gone, the look-up of its name takes seconds to fail
MOST = 10_000
ROOM = 256 << 20  # bytes, or a twentieth of a small disk
FILES = 1000  # or a twentieth of the few that a disk has room for
Ask = Callable[..., Awaitable[Any]]


class Memory:
    """What the hub last said about each token, and when."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._said: dict[str, tuple[float, Any]] = {}
        self._asking: dict[str, asyncio.Task[Any]] = {}

    def wrap(self, ask: Ask) -> Ask:
        async def ask_or_remember(auth: Any, url: str, api_token: str, *rest: Any, **named: Any) -> Any:
            said = self._recall(api_token)
            asking = self._asking.get(api_token)
            if asking is None or asking.get_loop() is not asyncio.get_running_loop():
                asking = asyncio.ensure_future(self._ask(ask(auth, url, api_token, *rest, **named), api_token))
                self._asking[api_token] = asking
                asking.add_done_callback(_look)
            if said is None:
                return await asyncio.shield(asking)
            await asyncio.wait([asking], timeout=PATIENCE_SECONDS)
            # A no of the hub is an answer, not an exception. An exception means that the hub is away.
            return asking.result() if asking.done() and not asking.exception() else said

        return ask_or_remember

    async def _ask(self, answer: Awaitable[Any], token: str) -> Any:
        try:
            said = await answer
        finally:
            self._asking.pop(token, None)
        self._said.pop(token, None)
        if said is not None:
            while len(self._said) >= MOST:  # the oldest is the first
                del self._said[next(iter(self._said))]
            self._said[token] = (self._clock(), said)
        return said

    def _recall(self, token: str) -> Any:
        when, said = self._said.get(token, (0.0, None))
        if said is not None and self._clock() - when > REMEMBERED_SECONDS:
            del self._said[token]
            return None
        return said


def _look(asked: asyncio.Task[Any]) -> None:
    """Read the error, because perhaps nobody waits any more, and asyncio reports errors that nobody has read."""
    if not asked.cancelled():
        asked.exception()


def install() -> None:
    """Replace the method, but only in jupyterhub-singleuser, which has loaded its module. Without it, do nothing."""
    auth: Any = getattr(sys.modules.get("jupyterhub.services.auth"), "HubAuth", None)
    ask = getattr(auth, "_check_hub_authorization", None)
    if ask is not None and not hasattr(auth, "carrel_memory"):
        auth.carrel_memory = Memory()
        auth._check_hub_authorization = auth.carrel_memory.wrap(ask)


def count_busy_kernels(server: Any) -> None:
    """Let a server be active while a kernel computes, or the culler would stop what prints nothing for a while.

    SERVER is jupyter_server's module. It counts what kernels send, not what they do (kernelmanager.py,
    start_watching_activity).
    """
    application: Any = getattr(server, "ServerWebApplication", None)
    last = getattr(application, "last_activity", None)
    if last is None or hasattr(application, "carrel_last_activity"):
        return

    def last_activity(self: Any) -> datetime.datetime:
        with contextlib.suppress(Exception):  # another manager of kernels may have no such list
            if any(kernel["execution_state"] == "busy" for kernel in self.settings["kernel_manager"].list_kernels()):
                return datetime.datetime.now(datetime.timezone.utc)
        found: datetime.datetime = last(self)
        return found

    application.carrel_last_activity = last
    application.last_activity = last_activity


def delete_for_good_if_full(config: Any, folder: str) -> None:
    """Delete files for good if the disk is nearly full, because JupyterLab's trash needs room and cannot be emptied.

    The trash counts towards a user's disk limit, which is the size of the disk here.
    """
    try:
        found = os.statvfs(folder)
    except OSError:
        return
    no_room = found.f_bavail * found.f_frsize < min(found.f_blocks * found.f_frsize // 20, ROOM)
    if no_room or found.f_favail < min(found.f_files // 20, FILES):
        config.FileContentsManager.delete_to_trash = False
        config.FileContentsManager.always_delete_dir = True


install()
count_busy_kernels(sys.modules.get("jupyter_server.serverapp"))
if "get_config" in globals():  # Jupyter defines it in configuration files
    folder = os.environ.get("JUPYTERHUB_ROOT_DIR") or os.path.expanduser("~")
    delete_for_good_if_full(globals()["get_config"](), folder)
