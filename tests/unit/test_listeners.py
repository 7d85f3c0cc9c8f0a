# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who listens on an instance's port, with real listeners, of real accounts where the tests run as root."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from ansible_collections.carrel.jupyter.plugins.module_utils._host import instance_ports
from ansible_collections.carrel.jupyter.plugins.module_utils._host import listeners as _listeners
from carrel_reset import api, web

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
NOBODY = 65534


def row(address: str, port: int, uid: int, state: str = "0A") -> str:
    zero = "0" * len(address)
    return f"   0: {address}:{port:04X} {zero}:0000 {state} 00000000:00000000 00:00000000 00000000 {uid:5} 0 1234\n"


def numbers(address: str) -> str:
    """An address as /proc/net prints it on this machine."""
    packed = socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)
    words = (packed[start : start + 4] for start in range(0, len(packed), 4))
    return "".join(f"{int.from_bytes(word, sys.byteorder):08X}" for word in words)


@pytest.mark.parametrize(
    ("listeners", "expected"),
    [
        ([], set()),
        ([("127.0.0.1", 1001)], {1001}),
        ([("0.0.0.0", 1002)], {1002}),
        ([("::", 1002)], {1002}),
        ([("::ffff:127.0.0.1", 1002)], {1002}),
        # the kernel prefers who is on the very address; an IPv6-only listener may be beside it
        ([("::", 1002), ("127.0.0.1", 1001)], {1001}),
        ([("127.0.0.2", 1002), ("::1", 1003), ("192.0.2.1", 1004)], set()),
        ([("::", 1002), ("0.0.0.0", 1001)], {1001, 1002}),
    ],
)
def test_which_listener_gets_a_connection(listeners: list[tuple[str, int]], expected: set[int]) -> None:
    four = HEAD + "".join(row(numbers(address), 8801, uid) for address, uid in listeners if ":" not in address)
    six = HEAD + "".join(row(numbers(address), 8801, uid) for address, uid in listeners if ":" in address)
    assert _listeners.uids(8801, [four, six]) == expected
    assert _listeners.uids(8802, [four, six]) == set()


def test_a_connection_is_no_listener() -> None:
    table = HEAD + row(numbers("127.0.0.1"), 8801, 1002, state="01")
    assert _listeners.uids(8801, [table]) == set()


def test_the_account_and_root_are_no_strangers() -> None:
    table = HEAD + row(numbers("127.0.0.1"), 8801, 4242)
    assert _listeners.taken(8801, 4242, [table]) is None
    text = _listeners.taken(8801, 1, [table])
    assert text and text.startswith("port 8801 of 127.0.0.1 is taken by uid 4242, not by ") and "ss -ltnp" in text
    assert _listeners.taken(8801, 1, [HEAD + row(numbers("127.0.0.1"), 8801, 0)]) is None


def test_of_this_machine() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        assert _listeners.uids(port, _listeners.read_tables()) == set()
        listener.listen()
        assert _listeners.uids(port, _listeners.read_tables()) == {os.getuid()}


SQUATTER = """
import os, socket, sys
os.setuid(int(sys.argv[1]))
listener = socket.socket()
listener.bind(("0.0.0.0", 0))
listener.listen()
print(listener.getsockname()[1], flush=True)
connection = listener.accept()[0]
print(connection.recv(4096), flush=True)
"""


@pytest.fixture
def squatter() -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """The port of a stranger who prints what is sent there."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another account")
    command = [sys.executable, "-I", "-c", SQUATTER, str(NOBODY)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        yield int(process.stdout.readline()), process
        process.kill()


def test_nothing_is_sent_to_a_stranger(
    squatter: tuple[int, subprocess.Popen[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    port, process = squatter
    (text,) = instance_ports.others([port, 1], "daemon")
    assert "taken by nobody" in text and "not by daemon" in text
    monkeypatch.setattr(os, "getuid", lambda: 1001)  # the account of the engine, as which the program runs
    with pytest.raises(api.ApiError, match=rf"port {port} of 127\.0\.0\.1 is taken by nobody \(uid {NOBODY}\)"):
        api.Api(f"http://127.0.0.1:{port}/hub/api", "the secret token").call("GET", "/users")
    assert web.version(web.local(port, "/", "api")) is None
    assert process.stdout
    assert process.stdout.readline() == "b''\n"


def test_our_own_server_is_asked() -> None:
    class Server(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"version": "6.1"}')

    with HTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.handle_request).start()
        assert web.version(web.local(server.server_port, "/", "hub/api/")) == "6.1"
