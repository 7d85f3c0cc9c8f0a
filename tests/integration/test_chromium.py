# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tests' browser beside containers that start and stop. Needs root, as networks of one's own do."""

from __future__ import annotations

import http.server
import threading
import time

from testbed import browser
from testbed.run import run
from testbed.web_server import WebServer

PARTS = 30  # more than Chromium asks a server for at once, so that some wait for a connection


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        time.sleep(0.02)
        page = "<title>Page</title>" + "".join(f'<img src="/{number}">' for number in range(PARTS))
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page.encode())

    def log_message(self, *arguments: object) -> None:
        pass


def test_it_does_not_notice_that_other_networks_change() -> None:
    failed: list[str | None] = []
    # Other tests' browsers must not notice it either.
    with browser.own_network(), WebServer(Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        over = threading.Event()

        def change() -> None:
            while not over.is_set():
                run("ip", "link", "add", "one", "type", "veth", "peer", "name", "other")
                run("ip", "address", "add", "192.0.2.1/24", "dev", "one")
                run("ip", "link", "set", "one", "up")
                run("ip", "link", "delete", "one")

        changes = threading.Thread(target=change)
        with browser.chromium() as context:
            changes.start()
            try:
                for number in range(5):
                    page = context.new_page()
                    page.on("requestfailed", lambda request: failed.append(request.failure))
                    page.goto(f"http://shop.test:{server.server_port}/page{number}")
                    page.close()
            finally:
                over.set()
                changes.join()
        server.shutdown()
    assert failed == []
