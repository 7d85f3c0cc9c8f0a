# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Used in a container: requests to its Jupyter server, and code in one of its kernels, as browsers do it.

The image's own Python runs it: it uses only the standard library, of 3.8 or later. A kernel may send anything, so sizes
and times have limits.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import http.cookies
import json
import os
import socket
import struct
import time
import uuid
from collections.abc import Iterator
from typing import Any

HOST = "127.0.0.1"
SECONDS = 60  # of one request
START_SECONDS = 120  # of a kernel
TRIES = 6
LONGEST_ANSWER = 64 * 2**20
LONGEST_MESSAGE = 64 * 2**20
LONGEST_HEAD = 64 * 2**10
PART = 2**16
TEXT, CLOSE, PING, PONG = 1, 8, 9, 10
# What jupyter_server says of a kernel that has died, whether it starts another one or gives up.
DEAD = ("restarting", "dead")


class Failure(Exception):
    """What does not work, for people."""


class Late(Failure):
    """The time is over."""


class Server:
    def __init__(self, port: int, token: str = "") -> None:
        self.port = port
        self.token = token
        self.cookies: dict[str, str] = {}

    def headers(self) -> dict[str, str]:
        """What shows who asks: to a server that wants it, and to its protection against foreign pages."""
        found = {
            "Authorization": f"token {self.token}" if self.token else "",
            "Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items()),
            "X-XSRFToken": self.cookies.get("_xsrf", ""),
        }
        return {name: value for name, value in found.items() if value}

    def ask(self, method: str, path: str, body: str | None = None, kind: str = "application/json") -> tuple[int, bytes]:
        """Return the status and the content of an answer; its cookies are kept."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=SECONDS)
        try:
            connection.request(method, path, body, {**self.headers(), "Content-Type": kind})
            answer = connection.getresponse()
            for header in answer.headers.get_all("Set-Cookie") or []:
                self.cookies.update({name: each.value for name, each in http.cookies.SimpleCookie(header).items()})
            content = answer.read(LONGEST_ANSWER + 1)
        except http.client.HTTPException as error:
            raise OSError(type(error).__name__) from error
        finally:
            connection.close()
        if len(content) > LONGEST_ANSWER:
            raise Failure(f"{method} {path.partition('?')[0]}: the answer is too long")
        return answer.status, content

    def json(self, method: str, path: str, body: Any = None) -> Any:
        status, content = self.ask(method, path, None if body is None else json.dumps(body))
        if not 200 <= status < 300:
            raise Failure(f"{method} {path.partition('?')[0]} answers with status {status}")
        return json.loads(content) if content else None


class Channel:
    """A websocket (RFC 6455)."""

    def __init__(self, server: Server, path: str, end: float) -> None:
        self._end = end
        self._socket = socket.create_connection((HOST, server.port), left(end))
        try:
            self._upgrade(server, path)
        except BaseException:
            self._socket.close()
            raise

    def close(self) -> None:
        self._socket.close()

    def until(self, end: float) -> None:
        """When waiting is over."""
        self._end = end

    def _upgrade(self, server: Server, path: str) -> None:
        headers = {
            "Host": f"{HOST}:{server.port}", "Upgrade": "websocket", "Connection": "Upgrade",
            "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(), "Sec-WebSocket-Version": "13",
            "Origin": f"http://{HOST}:{server.port}", **server.headers(),
        }  # fmt: skip
        lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        self._write("\r\n".join(lines).encode())
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += self._exactly(1)
            if len(head) > LONGEST_HEAD:
                raise Failure("the kernel's connection is refused: the answer has no end")
        status = head.partition(b"\r\n")[0]
        if b" 101 " not in status:
            raise Failure(f"the kernel's connection is refused: {status!r}")

    def send(self, kind: int, data: bytes) -> None:
        """One frame, masked, as a client's must be."""
        mask = os.urandom(4)
        size = len(data)
        if size < 126:
            length = bytes([0x80 | size])
        else:
            length = struct.pack("!BH", 0xFE, size) if size < 2**16 else struct.pack("!BQ", 0xFF, size)
        masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(data))
        self._write(bytes([0x80 | kind]) + length + mask + masked)

    def receive(self) -> tuple[int, bytes]:
        """The kind and the data of the next message; a ping may come between its parts."""
        whole, first = b"", 0
        while True:
            head, size = self._exactly(2)
            if size == 126:
                (size,) = struct.unpack("!H", self._exactly(2))
            elif size == 127:
                (size,) = struct.unpack("!Q", self._exactly(8))
            if len(whole) + size > LONGEST_MESSAGE:
                raise Failure(f"the kernel sent more than {LONGEST_MESSAGE >> 20} MiB in one message")
            kind = head & 0x0F
            data = self._exactly(size)
            if kind == CLOSE:
                raise Failure("the kernel's connection was closed")
            if kind == PING:
                self.send(PONG, data)
            if kind >= CLOSE:
                continue
            whole += data
            first = first or kind
            if head & 0x80:
                return first, whole

    def _write(self, data: bytes) -> None:
        self._socket.settimeout(left(self._end))
        try:
            self._socket.sendall(data)
        except socket.timeout as error:
            raise Late("it takes nothing more") from error

    def _exactly(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            self._socket.settimeout(left(self._end))
            try:
                part = self._socket.recv(min(size - len(data), PART))
            except socket.timeout as error:
                raise Late("it does not answer in time") from error
            if not part:
                raise Failure("the kernel's connection ended")
            data += part
        return bytes(data)


class Kernel:
    def __init__(self, name: str, channel: Channel) -> None:
        self.name = name
        self._channel = channel

    def ready(self) -> None:
        """Wait until it answers; the server may start it several times until it lives."""
        self._ask("kernel_info_request", {}, DEAD[1:])

    def run(self, code: str, stop_on_error: bool = True) -> dict[str, Any]:
        """What the kernel replies once the code has ended."""
        content = {
            "code": code, "silent": False, "store_history": True, "allow_stdin": False, "user_expressions": {},
            "stop_on_error": stop_on_error,
        }  # fmt: skip
        return self._ask("execute_request", content, DEAD)

    def _ask(self, kind: str, content: dict[str, Any], dead: tuple[str, ...]) -> dict[str, Any]:
        request = uuid.uuid4().hex
        header = {"msg_id": request, "msg_type": kind, "session": request, "username": "", "version": "5.3"}
        message = {"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell"}
        self._channel.send(TEXT, json.dumps(message).encode())
        wanted = kind.replace("request", "reply")
        while True:
            form, data = self._channel.receive()
            if form != TEXT:
                continue
            answer = json.loads(data)
            told: dict[str, Any] = answer["content"]
            if answer["msg_type"] == "status" and told.get("execution_state") in dead:
                raise Failure("the kernel died")
            if answer["msg_type"] == wanted and answer["parent_header"].get("msg_id") == request:
                return told


@contextlib.contextmanager
def kernel(server: Server, api: str, name: str | None, end: float) -> Iterator[Kernel]:
    """A kernel of its own, without a file, until END; then it is shut down.

    API is the path of the server's API, NAME as the server lists it; None for the server's usual one. Raises Failure,
    and OSError, ValueError, KeyError and TypeError for a server that is none.
    """
    known = server.json("GET", f"{api}kernelspecs")
    chosen = str(name or known["default"])
    if chosen not in known["kernelspecs"]:
        raise Failure(f"the server has no kernel {chosen}; it has {', '.join(sorted(known['kernelspecs']))}")
    path = f"{api}kernels/{server.json('POST', f'{api}kernels', {'name': chosen})['id']}"
    try:
        soon = min(end, time.monotonic() + START_SECONDS)
        with contextlib.closing(Channel(server, f"{path}/channels", soon)) as channel:
            started = Kernel(chosen, channel)
            try:
                started.ready()
            except Late as error:
                raise Late(f"the kernel {chosen} does not start in time") from error
            channel.until(end)
            yield started
    finally:
        _end(server, path)


def _end(server: Server, path: str) -> None:
    """Shut a kernel down. One that has just died may be started again by the server meanwhile."""
    for _unused in range(TRIES):
        with contextlib.suppress(OSError, Failure):
            if server.ask("DELETE", path)[0] == 404:
                return
        time.sleep(0.5)


def left(end: float) -> float:
    """Seconds until then; Late if there are none."""
    seconds = end - time.monotonic()
    if seconds <= 0:
        raise Late("it does not answer in time")
    return seconds
