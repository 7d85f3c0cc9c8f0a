# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs in a drill's container: probe.py CONFIG FILES. Logs in, lists and reads files, runs a kernel, prints results.

The image's own Python reads it from standard input: it uses only the standard library, of 3.8 or later.
"""

from __future__ import annotations

import base64
import http.client
import http.cookies
import json
import os
import socket
import stat
import struct
import sys
import time
import urllib.parse
import uuid
from typing import Any, BinaryIO

START_SECONDS = 180
SECONDS = 60
MOST_READ = 3
LONGEST_READ = 2**20
# What a server leaves out of a list (jupyter_server, ContentsManager.hide_globs).
UNLISTED = ("__pycache__", ".pyc", ".pyo", "~")
TEXT, CLOSE, PING, PONG = 1, 8, 9, 10


class Failure(Exception):
    """Something does not work; the text is for people."""


class Server:
    def __init__(self, port: int) -> None:
        self.port = port
        self.cookies: dict[str, str] = {}

    def ask(self, method: str, path: str, body: str | None = None, kind: str = "application/json") -> tuple[int, bytes]:
        """Return the status and the content of an answer; its cookies are kept."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)
        try:
            headers = {"Cookie": self.cookie(), "X-XSRFToken": self.cookies.get("_xsrf", ""), "Content-Type": kind}
            connection.request(method, path, body, {name: value for name, value in headers.items() if value})
            answer = connection.getresponse()
            for header in answer.headers.get_all("Set-Cookie") or []:
                self.cookies.update({name: each.value for name, each in http.cookies.SimpleCookie(header).items()})
            return answer.status, answer.read()
        except http.client.HTTPException as error:
            raise OSError(type(error).__name__) from error
        finally:
            connection.close()

    def cookie(self) -> str:
        return "; ".join(f"{name}={value}" for name, value in self.cookies.items())

    def json(self, method: str, path: str, body: Any = None) -> Any:
        status, content = self.ask(method, path, None if body is None else json.dumps(body))
        if not 200 <= status < 300:
            raise Failure(f"{method} {path.partition('?')[0]} answers with status {status}")
        return json.loads(content)


def wait(server: Server) -> str:
    """Return the version of the server, once it answers."""
    end = time.monotonic() + START_SECONDS
    while True:
        try:
            return str(server.json("GET", "/api")["version"])
        except (OSError, ValueError, KeyError, TypeError, Failure) as error:
            if time.monotonic() > end:
                raise Failure(f"it did not answer within {START_SECONDS} s: {error}") from error
            time.sleep(0.2)


def log_in(server: Server, token: str) -> None:
    """Log in with the form, as people do."""
    status, _unused = server.ask("GET", "/api/contents")
    if status < 400 and status not in (301, 302):
        raise Failure("it shows files to who is not logged in")
    server.ask("GET", "/login")
    form = {"password": token, "_xsrf": server.cookies.get("_xsrf", "")}
    status, _unused = server.ask("POST", "/login", urllib.parse.urlencode(form), "application/x-www-form-urlencoded")
    if status != 302:
        raise Failure(f"nobody can log in: the form's answer has status {status}")
    server.json("GET", "/api/contents?content=0")


def show(server: Server, folder: str) -> tuple[int, int]:
    """Compare the server's lists with the files; return how many names were compared and how many files were read."""
    names = [name for name in os.listdir(folder) if is_listed(folder, name)]
    listed = {each["name"] for each in server.json("GET", "/api/contents")["content"]}
    missing = sorted(set(names) - listed)
    if missing:
        raise Failure(f"it does not list {', '.join(map(ascii, missing[:5]))}")
    read = [name for name in sorted(names) if is_readable(folder, name)][:MOST_READ]
    for name in read:
        answer = server.json("GET", f"/api/contents/{urllib.parse.quote(name)}?type=file&format=base64")
        with open(os.path.join(folder, name), "rb") as file:
            if base64.b64decode(answer["content"]) != file.read():
                raise Failure(f"it returns different content for {name!a}")
    return len(names), len(read)


def is_listed(folder: str, name: str) -> bool:
    if name.startswith(".") or name.endswith(UNLISTED) or not name.isprintable():
        return False
    status = os.lstat(os.path.join(folder, name))
    return stat.S_ISREG(status.st_mode) or (stat.S_ISDIR(status.st_mode) and is_own(folder, status, 0o500))


def is_readable(folder: str, name: str) -> bool:
    path = os.path.join(folder, name)
    status = os.lstat(path)
    own = stat.S_ISREG(status.st_mode) and is_own(folder, status, 0o400)
    return own and status.st_size <= LONGEST_READ and os.access(path, os.R_OK)


def is_own(folder: str, status: os.stat_result, bits: int) -> bool:
    """Whether the owner of the files may enter it. We may be root, while the server is that owner: it does not list
    folders that it may not enter."""
    return status.st_uid == os.stat(folder).st_uid and status.st_mode & bits == bits


def run_kernel(server: Server) -> str:
    """Start the default kernel and let it compute; return its name."""
    specs = server.json("GET", "/api/kernelspecs")
    identifier = server.json("POST", "/api/kernels", {"name": specs["default"]})["id"]
    request = uuid.uuid4().hex
    header = {"msg_id": request, "msg_type": "execute_request", "session": request, "username": "", "version": "5.3"}
    content = {"code": "1 + 1", "silent": False, "store_history": False, "allow_stdin": False, "user_expressions": {}}
    message = {"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell"}
    with socket.create_connection(("127.0.0.1", server.port), SECONDS) as connection:
        stream = upgrade(connection, server, f"/api/kernels/{identifier}/channels")
        send(connection, TEXT, json.dumps(message).encode())
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            kind, data = receive(connection, stream)
            if kind != TEXT:
                continue
            answer = json.loads(data)
            if answer["msg_type"] == "execute_reply" and answer["parent_header"].get("msg_id") == request:
                if answer["content"]["status"] != "ok":
                    raise Failure("the kernel cannot compute 1 + 1")
                return str(specs["default"])
    raise Failure(f"the kernel {specs['default']} did not answer within {SECONDS} s")


def upgrade(connection: socket.socket, server: Server, path: str) -> BinaryIO:
    """Turn a connection into a websocket (RFC 6455); return the stream to read from."""
    lines = [
        f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{server.port}", "Upgrade: websocket", "Connection: Upgrade",
        f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}", "Sec-WebSocket-Version: 13",
        f"Origin: http://127.0.0.1:{server.port}", f"Cookie: {server.cookie()}", "", "",
    ]  # fmt: skip
    connection.sendall("\r\n".join(lines).encode())
    stream = connection.makefile("rb")
    status = stream.readline()
    if b" 101 " not in status:
        raise Failure(f"the kernel's connection is refused: {status!r}")
    while stream.readline().strip():
        pass
    return stream


def send(connection: socket.socket, kind: int, data: bytes) -> None:
    """Send one frame, masked, as a client's must be."""
    mask = os.urandom(4)
    size = len(data)
    length = bytes([0x80 | size]) if size < 126 else struct.pack("!BH", 0xFE, size)
    masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(data))
    connection.sendall(bytes([0x80 | kind]) + length + mask + masked)


def receive(connection: socket.socket, stream: BinaryIO) -> tuple[int, bytes]:
    """Return the kind and the data of the next message; a ping may come between its parts."""
    whole, first = b"", 0
    while True:
        head, size = exactly(stream, 2)
        if size == 126:
            (size,) = struct.unpack("!H", exactly(stream, 2))
        elif size == 127:
            (size,) = struct.unpack("!Q", exactly(stream, 8))
        kind = head & 0x0F
        data = exactly(stream, size)
        if kind == CLOSE:
            raise Failure("the kernel's connection was closed")
        if kind == PING:
            send(connection, PONG, data)
        if kind >= CLOSE:
            continue
        whole += data
        first = first or kind
        if head & 0x80:
            return first, whole


def exactly(stream: BinaryIO, size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise Failure("the kernel's connection ended")
    return data


def main(config: str, folder: str) -> dict[str, Any]:
    with open(config, encoding="utf-8") as file:
        wanted = json.load(file)["ServerApp"]
    server = Server(wanted["port"])
    version = wait(server)
    log_in(server, wanted["token"])
    shown, read = show(server, folder)
    return {"version": version, "shown": shown, "read": read, "kernel": run_kernel(server)}


if __name__ == "__main__":
    try:
        print(json.dumps(main(*sys.argv[1:])))
    except (Failure, OSError, ValueError, KeyError, TypeError) as error:
        sys.exit(f"{error or type(error).__name__}")
