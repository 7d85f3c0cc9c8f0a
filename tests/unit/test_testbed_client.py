# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The test bed's sessions repeat what a server that closed an idle connection did not answer, and nothing else."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator

import pytest
import requests

from testbed.client import session
from testbed.load import Load
from testbed.patience import SOON, until
from testbed.web_server import WebServer


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    asked: list[str]
    hang: threading.Event

    def do_GET(self) -> None:
        first = self.path not in self.asked
        self.asked.append(self.path)
        if self.path == "/hangs":
            self.hang.wait()
        if self.path == "/never" or (self.path == "/second" and first):
            self.close_connection = True  # without an answer
            return
        self.send_response(503 if self.path == "/busy" else 200)
        self.send_header("Content-Length", "0")
        self.send_header("Retry-After", "60")
        self.end_headers()

    do_HEAD = do_POST = do_GET

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[WebServer]:
    Handler.asked, Handler.hang = [], threading.Event()
    with WebServer(Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        Handler.hang.set()
        server.shutdown()


def ask(server: WebServer, method: str, path: str, seconds: float = SOON) -> int:
    with session(True) as http:
        url = f"http://127.0.0.1:{server.server_port}"
        assert http.get(url + "/kept", timeout=SOON).status_code == 200
        return int(http.request(method, url + path, timeout=seconds).status_code)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_page_is_asked_for_again_on_a_new_connection(server: WebServer, method: str) -> None:
    assert ask(server, method, "/second") == 200
    assert Handler.asked == ["/kept", "/second", "/second"]


@pytest.mark.parametrize(
    ("method", "path", "times"), [("POST", "/second", 1), ("GET", "/never", 2)], ids=["a form", "a page twice"]
)
def test_what_stays_without_an_answer_is_an_error(server: WebServer, method: str, path: str, times: int) -> None:
    with pytest.raises(requests.ConnectionError):
        ask(server, method, path)
    assert Handler.asked == ["/kept", *[path] * times]


def test_what_takes_long_is_not_asked_for_again(server: WebServer) -> None:
    with pytest.raises(requests.ReadTimeout):
        ask(server, "GET", "/hangs", 0.5)
    until(lambda: len(Handler.asked) > 1, "the question arrives")
    assert Handler.asked == ["/kept", "/hangs"]


def test_an_answer_is_an_answer(server: WebServer) -> None:
    assert ask(server, "GET", "/busy") == 503
    assert Handler.asked == ["/kept", "/busy"]


@pytest.mark.parametrize(("path", "failure"), [("/kept", None), ("/never", "ConnectionError"), ("/busy", "503")])
def test_a_load_counts_each_failure(server: WebServer, path: str, failure: str | None) -> None:
    url = f"http://127.0.0.1:{server.server_port}{path}"
    with Load(url, True, timeout_seconds=SOON) as load:
        until(lambda: load.answers, "the first answer")
    assert load.failures[:1] == ([failure] if failure else [])
