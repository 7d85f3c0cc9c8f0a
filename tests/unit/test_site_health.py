# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import http.server
import json
import threading
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.carrel.jupyter.plugins.module_utils._site import health
from ansible_collections.carrel.jupyter.plugins.module_utils._site.health import Seen
from ansible_collections.carrel.jupyter.plugins.modules import site_health
from hypothesis import given
from hypothesis import strategies as st

from testbed.web_server import WebServer

TARGET = health.target("https://example.org/tao/", "api")


@pytest.mark.parametrize(
    ("url", "path", "asked", "port"),
    [
        ("https://example.org/tao/", "api", "https://example.org/tao/api", 443),
        ("https://example.org/tao", "/api", "https://example.org/tao/api", 443),
        ("http://example.org:8080", "api", "http://example.org:8080/api", 8080),
        ("https://u:p@[2001:db8::1]:8443/", "hub/health", "https://[2001:db8::1]:8443/hub/health", 8443),
    ],
)
def test_target(url: str, path: str, asked: str, port: int) -> None:
    found = health.target(url, path)
    assert (found.url, found.port) == (asked, port)


@pytest.mark.parametrize(
    "url", ["example.org", "ftp://example.org", "https://", "https://example.org:99999/", "https://[x"]
)
def test_target_refuses(url: str) -> None:
    with pytest.raises(ValueError, match=r"^url: "):
        health.target(url, "api")


@given(st.text())
def test_a_bad_target_names_the_url(url: str) -> None:
    try:
        found = health.target(url, "api")
    except ValueError as error:
        assert str(error).startswith("url: ")
    else:
        assert 0 < found.port < 65536 and found.path.endswith("/api")


@pytest.mark.parametrize(
    ("body", "version"),
    [
        (b'{"version": "2.21.1"}', "2.21.1"),
        (b"<html>", None),
        (b"[1]", None),
        (b'{"version": 2}', None),
        (b"\xff", None),
    ],
)
def test_version(body: bytes, version: str | None) -> None:
    assert health.version(body) == version


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (Seen(error="connection refused", kind="refused"), "Nothing listens on 127.0.0.1:443"),
        (Seen(error="TLS error: CERTIFICATE_VERIFY_FAILED", kind="tls"), "validate_certs"),
        (Seen(error="TLS error: WRONG_VERSION_NUMBER", kind="tls"), "does not speak TLS"),
        (Seen(error="no answer within 5 s", kind="timeout"), "does not answer"),
        (Seen(status=502), "server behind it"),
        (Seen(status=503), "server behind it"),
        (Seen(status=421), "no virtual host for example.org on port 443"),
        (Seen(status=404), "compare its base_url"),
        (Seen(status=500), "error.log"),
    ],
)
def test_a_failure_has_the_answer_and_advice(seen: Seen, words: str) -> None:
    message = health.failure(TARGET, "127.0.0.1", 60.2, 7, seen, [200, 204])
    assert message.startswith("https://example.org/tao/api did not answer with status 200 or 204 within 60 s (7 tries")
    assert f"Last seen: {seen}. " in message
    assert words in message


class _Answering(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(302)
        self.end_headers()

    def log_message(self, *_unused: object) -> None:
        pass


def test_the_module_needs_an_account_only_with_ports(capsys: pytest.CaptureFixture[str]) -> None:
    server = WebServer(_Answering)
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def answer(**more: object) -> dict[str, Any]:
        url = f"http://127.0.0.1:{server.server_port}/"
        with patch_module_args({"url": url, "path": "", "expect_status": [302], **more}), pytest.raises(SystemExit):
            site_health.main()
        said: dict[str, Any] = json.loads(capsys.readouterr().out)
        return said

    try:
        assert answer()["status"] == 302
        assert "account" in answer(ports=[1])["msg"]
        # The site may answer all the same.
        nobody = {"ports": [1], "account": "nobody-has-this"}
        said = answer(**nobody)
        assert said["failed"] and "there is no account 'nobody-has-this' on this host" in said["msg"]
        tried = answer(**nobody, _ansible_check_mode=True)
        assert (tried["healthy"], tried["status"], tried.get("failed")) == (False, 302, None)
    finally:
        server.shutdown()


def test_a_site_without_its_certificate_is_not_a_server_that_does_not_answer() -> None:
    seen = Seen(status=503, certificate=b"0.1'0%..Apache Managed Domain Fallback0..")
    assert "no certificate by ACME for this name yet" in health.advice(seen, "127.0.0.1", TARGET)
    assert "docker compose logs" in health.advice(Seen(status=503, certificate=b"0.."), "127.0.0.1", TARGET)
