# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where people log in: a whole JupyterHub, without its proxy, and everything that a stranger can send to it."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode

import pytest
from carrel_hub import authenticators, custom, files, lti, people
from carrel_hub.several import CarrelSeveralAuthenticator
from jupyterhub import orm, roles
from jupyterhub.app import JupyterHub
from jupyterhub.auth import Authenticator
from jupyterhub.handlers import BaseHandler
from tornado.httpclient import AsyncHTTPClient, HTTPResponse
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from tornado.web import HTTPError
from traitlets.config import Config

PROF = "prof@uni.example"
CLAIMS = {f"{lti.CLAIM}deployment_id": "1", "nonce": "n1", "email": PROF}
# What is sent for any class, with the right password of those that have one.
SENT = {**CLAIMS, "username": PROF, "password": "right", "code": "stolen", "state": "x"}


class Callback(BaseHandler):  # type: ignore[misc]
    """As ltiauthenticator's, with another proof in place of a signature."""

    def check_xsrf_cookie(self) -> None:
        return

    def decode_and_validate_launch_request(self) -> Any:
        if self.get_argument("proof", "") != "signed":
            raise HTTPError(400)
        return json.loads(self.get_argument("claims"))

    async def post(self) -> None:
        user = await self.login_user(self.decode_and_validate_launch_request())
        self.finish(user.name)


class Believing(Authenticator):  # type: ignore[misc]
    """Takes what it is given for what its own page has verified, as ltiauthenticator's does."""

    callback_handler: Any = Callback
    username_key = "email"

    def login_url(self, base_url: str) -> str:
        return f"{base_url}lti13/oauth_login"

    def get_handlers(self, app: Any) -> list[tuple[str, Any]]:
        return [("/lti13/oauth_callback", self.callback_handler)]

    async def authenticate(self, handler: Any, data: Any = None) -> Any:
        return {"name": (data or {})["email"]}


class Form(Authenticator):  # type: ignore[misc]
    """Has JupyterHub's own form."""

    async def authenticate(self, handler: Any, data: Any = None) -> Any:
        return data["username"] if data.get("password") == "right" else None


class Launches(lti.LaunchMixin, custom.Guarded, Believing):  # type: ignore[misc]
    pass


def several(**each: Any) -> Any:
    entries = [
        {"name": name, "title": name, "prefix": "" if cls is Launches else "x-", "class": cls, "traits": {}}
        for name, cls in each.items()
    ]
    return CarrelSeveralAuthenticator, {"CarrelSeveralAuthenticator": {"members": entries}}


def own(base: Any, mixin: Any = authenticators.IdentityMixin) -> Any:
    return type("Own", (mixin, custom.Guarded, base), {}), {}


DUMMY = authenticators.CarrelDummyAuthenticator, {"DummyAuthenticator": {"password": "right"}}
OIDC = (
    authenticators.CarrelOidcAuthenticator,
    {"GenericOAuthenticator": {"client_id": "hub", "token_url": "http://[::1]:1"}},
)
HUBS = {
    "dummy": DUMMY, "form": own(Form), "believing": own(Believing), "launches": (Launches, {}), "oidc": OIDC,
    "several": several(uni=Launches, form=own(Form)[0]),
}  # fmt: skip


@pytest.fixture(autouse=True)
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "STATE", tmp_path)
    monkeypatch.setattr(people, "DIRECTORY", tmp_path)
    monkeypatch.chdir(tmp_path)
    limits = dict.fromkeys(("memory", "swap", "cpus", "pids"))
    users = {name: {"identity": name, "admin": True, **limits} for name in (PROF, f"x-{PROF}")}
    (tmp_path / "roster.json").write_text(json.dumps({"version": 1, "users": users, "blocked": []}))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What reached any class's authenticate()."""
    found: list[Any] = []
    for cls in (authenticators.IdentityMixin, authenticators.DummyAuthenticator):
        real = cls.authenticate

        async def authenticate(self: Any, handler: Any, data: Any = None, real: Any = real, **more: Any) -> Any:
            found.append(data)
            answer = real(self, handler, data, **more)
            return await answer if hasattr(answer, "__await__") else answer

        monkeypatch.setattr(cls, "authenticate", authenticate)
    return found


class Hub:
    """A stranger's view of a hub."""

    def __init__(self, app: JupyterHub, port: int) -> None:
        self.app, self.url = app, f"http://127.0.0.1:{port}"

    async def send(self, path: str, body: Any = None, method: str = "POST", **headers: str) -> HTTPResponse:
        text = body if isinstance(body, str) else json.dumps(body)
        return await AsyncHTTPClient().fetch(
            self.url + path, method=method, body=text if method in ("POST", "PUT", "PATCH") else None, headers=headers,
            raise_error=False, follow_redirects=False, request_timeout=10,
        )  # fmt: skip

    async def form(self, path: str, fields: dict[str, str]) -> HTTPResponse:
        """Send a form as a browser does that has opened the page."""
        page = await self.send("/hub/login", method="GET")
        xsrf = re.findall("_xsrf=([^;]*)", ";".join(page.headers.get_list("Set-Cookie")))[0]
        more = {"Cookie": f"_xsrf={xsrf}", "Content-Type": "application/x-www-form-urlencoded"}
        return await self.send(path, urlencode({**fields, "_xsrf": xsrf}), **more)

    def tokens(self) -> list[Any]:
        return list(self.app.db.query(orm.APIToken).filter(orm.APIToken.user_id.isnot(None)))

    def paths(self) -> set[str]:
        """All paths, with names in place of patterns."""
        found = (re.sub(r"\([^)]*\)", PROF, str(rule[0])).strip("$") for rule in self.app.handlers)
        return {path for path in found if re.fullmatch("/hub/[^(*]*", path)}


def at(which: tuple[Any, dict[str, Any]], visit: Callable[[Hub], Awaitable[None]]) -> None:
    cls, settings = which
    quiet = {"log_level": 50, "authenticator_class": cls, "db_url": "sqlite://", "spawner_class": "simple"}
    settings = {**settings, "JupyterHub": {**quiet, "cookie_secret": b"x" * 32}}
    settings["Authenticator"] = {"any_allow_config": True}
    settings["ConfigurableHTTPProxy"] = {"auth_token": "x"}

    async def run() -> None:
        app = JupyterHub(config=Config(settings))
        app.init_signal = lambda: None
        await app.initialize([])
        socket, port = bind_unused_port()
        server = HTTPServer(app.tornado_application)
        server.add_socket(socket)
        try:
            for name in (PROF, f"x-{PROF}"):  # they have been here before
                user = orm.User(name=name, admin=True)
                app.db.add(user)
                roles.assign_default_roles(app.db, entity=user)
            await visit(Hub(app, port))
        finally:
            server.stop()

    asyncio.run(asyncio.wait_for(run(), 60))


@pytest.mark.parametrize("which", HUBS.values(), ids=HUBS)
def test_the_api_logs_nobody_in(which: Any, asked: list[Any]) -> None:
    """All of it, in all spellings; of another version of JupyterHub, too."""

    async def visit(hub: Hub) -> None:
        tokens = "/hub/api/users/{}/tokens"
        spellings = (
            tokens, f"{tokens}?code=stolen", f"{tokens}/", f"/{tokens}", "/hub//api/users/{}/tokens",
            "/hub/api//users/{}/tokens", "/hub/api/users/{}/%74okens", tokens.removeprefix("/hub"),
            "/hub/api/../api/users/{}/tokens",
        )  # fmt: skip
        names = (PROF, "prof%40uni.example", "%70rof@uni.example", "PROF@uni.example")
        for path in (each.format(name) for each in spellings for name in names):
            for auth in (SENT, {"auth": SENT}, {**SENT, "auth": CLAIMS}):
                answer = await hub.send(path, auth)
                assert answer.code in (302, 403, 404, 405), (path, answer.code)
        api = [path for path in hub.paths() if "/api/" in path]
        assert len(api) > 30
        for path in api:
            for method in ("POST", "GET", "PUT", "PATCH", "DELETE"):
                await hub.send(path, {"auth": SENT}, method)
        assert asked == [] and hub.tokens() == []

    at(which, visit)


@pytest.mark.parametrize("which", ["believing", "launches", "oidc", "several"])
def test_a_class_with_a_page_of_its_own_takes_no_form(which: str, asked: list[Any]) -> None:
    async def visit(hub: Hub) -> None:
        pages = [path for path in hub.paths() if "/api/" not in path]
        assert "/hub/login" in pages
        for path in (*pages, "/hub/login?code=stolen&state=x", "/hub//login"):
            if path != "/hub/login/form/login":
                answer = await hub.form(path, SENT)
                assert "jupyterhub-hub-login" not in str(answer.headers), path
        assert asked == []

    at(HUBS[which], visit)


@pytest.mark.parametrize("which", ["dummy", "form", "several"])
def test_a_form_takes_the_password(which: str) -> None:
    async def visit(hub: Hub) -> None:
        path = "/hub/login/form/login" if which == "several" else "/hub/login"
        for password, code in (("wrong", 403), ("right", 302)):
            answer = await hub.form(path, {"username": PROF, "password": password})
            assert answer.code == code, answer.body
            assert ("jupyterhub-hub-login" in str(answer.headers)) is (code == 302)

    at(HUBS[which], visit)


@pytest.mark.parametrize(("which", "place"), [("believing", ""), ("launches", ""), ("several", "login/uni/")])
def test_a_page_of_a_class_logs_in_whom_it_has_verified(which: str, place: str) -> None:
    async def visit(hub: Hub) -> None:
        for proof, code in (("forged", 400), ("signed", 200)):
            launch = urlencode({"proof": proof, "claims": json.dumps(CLAIMS)})
            more = {"Content-Type": "application/x-www-form-urlencoded"}
            answer = await hub.send(f"/hub/{place}lti13/oauth_callback", launch, **more)
            assert answer.code == code, answer.body
        assert answer.body == PROF.encode()

    at(HUBS[which], visit)


@pytest.mark.parametrize(
    "handler", [None, SimpleNamespace(), SimpleNamespace(checked=None), SimpleNamespace(checked=dict(CLAIMS))]
)
@pytest.mark.parametrize("data", [None, {}, CLAIMS])
def test_claims_count_only_if_the_callback_has_verified_them(handler: Any, data: Any) -> None:
    with pytest.raises(HTTPError) as refused:
        asyncio.run(Launches().authenticate(handler, data))
    assert refused.value.status_code == 403
