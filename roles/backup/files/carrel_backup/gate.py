# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gate, to which Apache sends the requests of an instance that moves: gate.py FOLDER USER SECONDS LOCK …

Requests wait until FOLDER/go names their target, and are then passed on unchanged. Until then no reset or backup gets
the locks. The gate ends once FOLDER/hold is gone and the last request is answered, or after SECONDS without a target.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import functools
import json
import os
import pwd
import socket
import ssl
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

MOST_WAITING = 100  # each one holds a thread of Apache, which has 150 by default for all that it serves
BACKLOG = 512
LOOK_SECONDS = 0.05
BEGIN_SECONDS = 30  # until requests are held
CONNECT_SECONDS = 10
LONGEST_ANSWER = 3600  # for a request that was passed on; a websocket may need longer, and the page opens it again


class Gate:
    def __init__(self, folder: str, seconds: float, locks: Sequence[int] = ()) -> None:
        self.folder = folder
        self._locks = list(locks)
        self.waiting = self.open = 0
        self._begun = False
        self._end = time.monotonic() + seconds
        self._begin = time.monotonic() + BEGIN_SECONDS

    def target(self) -> dict[str, Any] | None:
        """The target of the requests, once it is known."""
        try:
            with open(f"{self.folder}/go", encoding="utf-8") as file:
                found: dict[str, Any] = json.load(file)
        except FileNotFoundError:
            return None
        return found

    @property
    def over(self) -> bool:
        """Whether no request waits for the target any more."""
        held = os.path.exists(f"{self.folder}/hold")
        self._begun = self._begun or held
        if not self._begun:
            return time.monotonic() > self._begin
        return not held or (time.monotonic() > self._end and self.target() is None)

    async def run(self, listening: socket.socket) -> None:
        # The folder belongs to root, and we are not root any more.
        kept: dict[str, Any] = {"cleanup_socket": False} if sys.version_info >= (3, 13) else {}
        server = await asyncio.start_unix_server(self.take, sock=listening, backlog=BACKLOG, **kept)
        while not self.over:
            if self.target():
                self.unlock()
            await asyncio.sleep(LOOK_SECONDS)
        self.unlock()
        # Apache may have checked for the file just before it was removed.
        await asyncio.sleep(20 * LOOK_SECONDS)
        server.close()
        end = time.monotonic() + LONGEST_ANSWER
        while self.open and time.monotonic() < end:
            await asyncio.sleep(LOOK_SECONDS)

    def unlock(self) -> None:
        while self._locks:
            os.close(self._locks.pop())

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        try:
            if self.waiting >= MOST_WAITING:
                # Apache answers that the server is not there, with a page that tries again; but not if it could not
                # even send its request.
                await asyncio.wait_for(reader.read(2**16), CONNECT_SECONDS)
                return
            self.waiting += 1
            try:
                while (target := self.target()) is None and not self.over and not reader.at_eof():
                    await asyncio.sleep(LOOK_SECONDS)
            finally:
                self.waiting -= 1
            if target is not None:
                there, back = await connect(target)
                await pass_on(reader, writer, there, back)
        except (OSError, asyncio.TimeoutError, ssl.SSLError):
            pass  # the same
        finally:
            self.open -= 1
            writer.close()


async def connect(target: Mapping[str, Any]) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    context = trust(target["certificates"]) if target["tls"] else None
    name = target["server_name"] if context else None
    opening = asyncio.open_connection(target["address"], target["port"], ssl=context, server_hostname=name)
    return await asyncio.wait_for(opening, CONNECT_SECONDS)


@functools.cache  # reading them for each request that waits would take longer than CONNECT_SECONDS on a busy host
def trust(certificates: str | None) -> ssl.SSLContext:
    """Trust these certificates too, or any if there are none."""
    context = ssl.create_default_context()
    if certificates:
        context.load_verify_locations(certificates)
    else:  # this host's own Apache
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


async def pass_on(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, there: asyncio.StreamReader, back: asyncio.StreamWriter
) -> None:
    """Until one of the two ends; TLS can't be closed by half."""
    ways = [asyncio.ensure_future(copy(reader, back)), asyncio.ensure_future(copy(there, writer))]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        for way in ways:
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await way
        back.close()


async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    while part := await source.read(2**16):
        target.write(part)
        await target.drain()


def locked(paths: Sequence[str]) -> list[int]:
    """Take these locks, and hold them while the descriptors are open. Raises BlockingIOError, with the path."""
    found = []
    for path in paths:
        try:
            descriptor = opened(path)
        except FileNotFoundError:
            continue  # it has no resets, or no backups
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BlockingIOError(error.errno, "a reset or a backup of it is running", path) from error
        found.append(descriptor)
    return found


def opened(path: str) -> int:
    """The file of a lock; if it is missing, it is made with the owner of its folder."""
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with contextlib.suppress(FileNotFoundError):
        return os.open(path, flags)
    folder = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        descriptor = os.open(os.path.basename(path), flags | os.O_CREAT | os.O_EXCL, 0o644, dir_fd=folder)
        status = os.fstat(folder)
        os.fchown(descriptor, status.st_uid, status.st_gid)
        return descriptor
    finally:
        os.close(folder)


def listen(path: str, user: str) -> socket.socket:
    """A socket for this user only; we become this user, too."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(path)
    os.chmod(path, 0o600)
    if os.geteuid() == 0:
        entry = pwd.getpwnam(user)
        os.chown(path, entry.pw_uid, entry.pw_gid)
        os.setgroups([])
        os.setgid(entry.pw_gid)
        os.setuid(entry.pw_uid)
    listening.listen(BACKLOG)
    return listening


def main(folder: str, user: str, seconds: str, *locks: str) -> int:
    try:
        held = locked(locks)
    except OSError as error:
        print(error, file=sys.stderr)
        return 3
    asyncio.run(Gate(folder, float(seconds), held).run(listen(f"{folder}/socket", user)))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
