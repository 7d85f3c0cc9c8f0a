# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a user's server does while the hub is away: JupyterHub's own client, and hubs that answer or do not."""

from __future__ import annotations

import asyncio
import datetime
import importlib.util
import json
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from jupyterhub.services import auth
from jupyterhub.services.auth import HubAuth
from tornado.web import HTTPError

from testbed.patience import PATIENCE, SOON
from testbed.web_server import WebServer

FILE = Path(__file__).resolve().parents[2] / "roles" / "hub" / "files" / "server" / "jupyter_config.py"
ADA = {"kind": "user", "name": "ada", "scopes": []}


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The file as Jupyter reads it, in a process that has jupyterhub."""
    before = HubAuth._check_hub_authorization
    spec = importlib.util.spec_from_file_location("carrel_server_config", FILE)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    HubAuth._check_hub_authorization = before
    del HubAuth.carrel_memory


LONG_AGO = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)


@pytest.mark.parametrize(
    ("states", "active"), [([], False), (["idle"], False), (["idle", "busy"], True), (None, False)]
)
def test_a_server_is_active_while_a_kernel_computes(config: ModuleType, states: list[str] | None, active: bool) -> None:
    """tests/integration/test_image_lab.py has a real one. None: another manager of kernels, without a list."""

    class ServerWebApplication:
        def __init__(self) -> None:
            kernels = SimpleNamespace(list_kernels=lambda: [{"execution_state": state} for state in states or ()])
            self.settings = {"kernel_manager": kernels if states is not None else object()}

        def last_activity(self) -> datetime.datetime:
            return LONG_AGO

    for _time in range(2):  # several of Jupyter's programs may read the file in one process
        config.count_busy_kernels(SimpleNamespace(ServerWebApplication=ServerWebApplication))
    assert (ServerWebApplication().last_activity() != LONG_AGO) == active
    config.count_busy_kernels(None)


class FakeHub:
    """Answers, as a hub does, who a token belongs to."""

    def __init__(self) -> None:
        self.status, self.asked, self.awake = 200, 0, threading.Event()
        self.awake.set()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked += 1
                outer.awake.wait()
                body = json.dumps(ADA if outer.status == 200 else {"message": "no"}).encode()
                self.send_response(outer.status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments: Any) -> None:
                pass

        self.server = WebServer(Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/hub/api"

    def leave(self) -> None:
        self.awake.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    hub = FakeHub()
    yield hub
    hub.leave()


def client(hub: FakeHub) -> HubAuth:
    # Nothing is kept but by the memory: each question goes to the hub, as one does after ten seconds.
    return HubAuth(api_url=hub.url, api_token="the server's", cache=auth._ExpiringDict(1e-9))


async def who(ask: HubAuth) -> str | None:
    model = await ask.user_for_token("ada's", sync=False)
    return model and model["name"]


def test_jupyterhub_s_client_asks_through_the_memory(config: ModuleType) -> None:
    """It is a method of JupyterHub's own; with another name this would do nothing."""
    assert HubAuth._check_hub_authorization.__qualname__.startswith("Memory.wrap")


def test_without_the_file_an_outage_is_an_error(hub: FakeHub) -> None:
    async def work() -> None:
        ask = client(hub)
        assert await who(ask) == "ada"
        hub.leave()
        await who(ask)

    with pytest.raises(HTTPError):
        asyncio.run(work())


@pytest.mark.parametrize("status", [0, 500, 502, 503, 504])
def test_while_the_hub_is_away_its_last_word_counts(config: ModuleType, hub: FakeHub, status: int) -> None:
    async def work() -> None:
        ask = client(hub)
        assert await who(ask) == "ada"
        if status:
            hub.status = status
        else:
            hub.leave()
        for _unused in range(3):
            assert await who(ask) == "ada"

    asyncio.run(work())


def test_nobody_waits_long_for_a_hub_that_does_not_answer(config: ModuleType, hub: FakeHub) -> None:
    config.PATIENCE_SECONDS = 0.05

    async def work() -> None:
        ask = client(hub)
        assert await who(ask) == "ada"
        hub.awake.clear()
        began, asked = time.monotonic(), hub.asked
        assert [await who(ask) for _unused in range(5)] == ["ada"] * 5
        assert time.monotonic() - began < SOON, "JupyterHub's own client waits for minutes"
        while hub.asked == asked:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        assert hub.asked == asked + 1  # one question is enough

    asyncio.run(work())


@pytest.mark.parametrize("late", [False, True])
def test_a_no_of_the_hub_counts_at_once_also_when_it_comes_late(config: ModuleType, hub: FakeHub, late: bool) -> None:
    config.PATIENCE_SECONDS = 0.05 if late else PATIENCE

    async def work() -> None:
        ask = client(hub)
        assert await who(ask) == "ada"
        hub.status = 403
        if late:
            hub.awake.clear()
        assert await who(ask) == ("ada" if late else None)
        hub.awake.set()
        for answer in asyncio.all_tasks() - {asyncio.current_task()}:
            await answer
        hub.leave()
        with pytest.raises(HTTPError):
            await who(ask)

    asyncio.run(work())


def test_a_hub_that_stays_away_is_an_error_in_the_end(config: ModuleType, hub: FakeHub) -> None:
    async def work() -> None:
        ask = client(hub)
        assert await who(ask) == "ada"
        hub.leave()
        assert await who(ask) == "ada"
        config.REMEMBERED_SECONDS = 0
        await who(ask)

    with pytest.raises(HTTPError):
        asyncio.run(work())


def test_people_without_an_earlier_yes_stay_out(config: ModuleType, hub: FakeHub) -> None:
    async def work() -> None:
        hub.leave()
        await who(client(hub))

    with pytest.raises(HTTPError):
        asyncio.run(work())


def test_other_programs_of_jupyter_do_not_load_jupyterhub_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "jupyterhub.services.auth")
    exec(compile(FILE.read_text(), FILE, "exec"), {"__name__": "config"})
    assert "jupyterhub.services.auth" not in sys.modules
