# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a real tornado server logs of URLs with a token."""

from __future__ import annotations

import asyncio
import json
import logging
import runpy
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from ansible_collections.carrel.jupyter.plugins.module_utils._shared import log_tokens
from tornado.httpclient import AsyncHTTPClient
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from tornado.web import Application, HTTPError, RequestHandler
from traitlets.config import Config

ROOT = Path(__file__).parents[2]
SECRET = "0123456789abcdef"


class Refuses(RequestHandler):
    def get(self) -> None:
        raise HTTPError(404, "No such file: nope")


class Fails(RequestHandler):
    def get(self) -> None:
        raise RuntimeError("failed")


@pytest.fixture
def plain() -> Iterator[None]:
    make = logging.getLogRecordFactory()
    yield
    logging.setLogRecordFactory(make)


@pytest.fixture
def installed(plain: None) -> None:
    log_tokens.install()


async def ask(*paths: str) -> None:
    server = HTTPServer(Application([("/refuses", Refuses), ("/fails", Fails)]))
    socket, port = bind_unused_port()
    server.add_socket(socket)
    for path in paths:
        await AsyncHTTPClient().fetch(f"http://127.0.0.1:{port}{path}", raise_error=False)
    server.stop()


@pytest.mark.parametrize(
    "query",
    [
        f"token={SECRET}", f"a=b&token={SECRET}&c=d", f"%74%6Fken={SECRET}", f"next=%2Flab%3Ftoken%3D{SECRET}",
        f"next=%252Flab%253Ftoken%253D{SECRET}", f"access_token={SECRET}", f"TOKEN={SECRET}",
    ],
)  # fmt: skip
def test_tornado_logs_no_token(installed: None, caplog: pytest.LogCaptureFixture, query: str) -> None:
    asyncio.run(ask(f"/refuses?{query}", f"/fails?{query}", f"/nowhere?{query}"))
    assert SECRET not in caplog.text
    assert "No such file: nope" in caplog.text and "Uncaught exception GET /fails" in caplog.text


@pytest.mark.usefixtures("plain")
def test_the_configuration_of_a_lab_installs_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("jupyter_server_config.py", "full_home.py"):
        shutil.copy(ROOT / "roles/lab/files" / name, tmp_path)
    shutil.copy(ROOT / "plugins/module_utils/_shared/log_tokens.py", tmp_path / "log_tokens.py")
    # it needs a server
    monkeypatch.setitem(sys.modules, "carrel_access", SimpleNamespace(install=lambda config: None))
    settings = {"ServerApp": {"root_dir": str(tmp_path)}}
    (tmp_path / "jupyter_server_config.json").write_text(json.dumps(settings))
    for _unused in range(2):  # as jupyter_server and JupyterLab do
        runpy.run_path(str(tmp_path / "jupyter_server_config.py"), {"get_config": Config})
    asyncio.run(ask(f"/refuses?token={SECRET}"))
    assert "GET /refuses?token=[secret] (127.0.0.1)" in caplog.text and SECRET not in caplog.text


@pytest.mark.parametrize(
    "line", ["https://example.org/lab?token=...", "tokens=none", "3 tokens: 5", "GET /api/tokens 200", "token: a b"]
)
def test_other_lines_stay(line: str) -> None:
    assert log_tokens.without_tokens(line) == line


def test_unformattable_records_are_left_to_logging(installed: None) -> None:
    record = logging.getLogRecordFactory()("x", logging.INFO, "f", 1, "%d token=%s", ("a", SECRET), None)
    assert record.args == ("a", SECRET)


def test_levels_and_arguments_of_other_lines_stay(installed: None, caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("x").warning("%s of %d", "a", 3)
    assert caplog.records[0].args == ("a", 3) and caplog.records[0].levelname == "WARNING"
