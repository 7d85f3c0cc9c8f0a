# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import http.server
import socket
import threading

import pytest

from testbed.patience import SOON
from testbed.web_server import WebServer


class Endless(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/broken":
            raise LookupError("of the test's own")
        while True:
            self.wfile.write(bytes(100_000))

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.mark.parametrize(("path", "reported"), [("/endless", False), ("/broken", True)])
def test_only_a_client_that_hangs_up_is_no_error(capfd: pytest.CaptureFixture[str], path: str, reported: bool) -> None:
    with WebServer(Endless) as server:
        server.daemon_threads = False  # so that its end waits for theirs
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with socket.create_connection(server.server_address[:2], SOON) as client:
            client.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
            client.recv(1)
        server.shutdown()
    said = capfd.readouterr().err
    assert ("LookupError: of the test's own" in said) is bool(said) is reported
