# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who gets in, by what identity providers and the roster say. tests/integration has a real provider."""

from __future__ import annotations

import asyncio
import functools
import http.server
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jwt
import pytest
from carrel_hub import authenticators, files, people
from cryptography.hazmat.primitives.asymmetric import rsa
from tornado import web


def user(**more: Any) -> dict[str, Any]:
    return {"identity": "x", "admin": False, "memory": None, "swap": None, "cpus": None, "pids": None, **more}


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(files, "STATE", tmp_path)
    monkeypatch.setattr(people, "DIRECTORY", tmp_path)
    return tmp_path


def write_roster(desk: Path, users: dict[str, Any], blocked: list[str]) -> None:
    (desk / "roster.json").write_text(json.dumps({"version": 1, "users": users, "blocked": blocked}))


async def ask(authenticator: Any, name: str, identity: str) -> bool:
    return bool(await authenticator.check_allowed(name, {"identity": identity, "name": name}))


def test_guests_of_an_organization_keep_the_name_that_they_had_first(desk: Path) -> None:
    class Guests(authenticators.CarrelGitHubAuthenticator):  # type: ignore[misc]
        async def allow_guest(self, username: str, authentication: dict[str, Any]) -> bool:
            return True

    write_roster(desk, {"ada": user(identity="Ada")}, ["eve"])
    gate = Guests(allowed_organizations={"uni"})
    assert asyncio.run(ask(gate, "ada", "ADA"))
    assert asyncio.run(ask(gate, "bob--uni", "bob@uni"))
    for name, identity in (("ada", "ada@other"), ("bob--uni", "bob--uni")):
        with pytest.raises(Exception, match="somebody else's"):
            asyncio.run(ask(gate, name, identity))
    assert gate.is_guest("bob--uni") and not gate.is_guest("carl")
    assert not gate.check_blocked_users("eve")


def test_a_guest_who_does_not_log_in_again_loses_sessions_and_tokens_after_a_day(
    desk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Guests(authenticators.CarrelGitHubAuthenticator):  # type: ignore[misc]
        member = True

        async def allow_guest(self, username: str, authentication: dict[str, Any]) -> bool:
            return self.member

    gate = Guests(allowed_organizations={"uni"})
    write_roster(desk, {"ada": user(identity="ada")}, [])
    bob = SimpleNamespace(name="bob", admin=False)
    assert asyncio.run(ask(gate, "bob", "bob")) and asyncio.run(ask(gate, "ada", "ada"))
    assert asyncio.run(gate.refresh_user(bob)) is True
    later = time.time() + authenticators.GUEST_SECONDS + 1
    monkeypatch.setattr(authenticators.time, "time", lambda: later)
    assert asyncio.run(gate.refresh_user(bob)) is False
    assert asyncio.run(gate.refresh_user(SimpleNamespace(name="ada", admin=False))) is True
    gate.member = False
    assert not asyncio.run(ask(gate, "bob", "bob"))
    assert asyncio.run(gate.refresh_user(bob)) is False
    gate.member = True
    assert asyncio.run(ask(gate, "bob", "bob"))
    assert asyncio.run(gate.refresh_user(bob)) is True
    with pytest.raises(Exception, match="somebody else's"):
        asyncio.run(ask(gate, "bob", "another"))
    # as versions before wrote it: nobody knows when that was
    files.write_state(authenticators.IDENTITIES, {"bob": "bob"})
    assert asyncio.run(gate.refresh_user(bob)) is False
    assert asyncio.run(ask(gate, "bob", "BOB")) and gate.is_guest("bob")


class Caller:
    """The handler of a browser that comes back from the provider."""

    def get_argument(self, name: str, default: Any = None) -> str:
        return "code"


PROVIDER = {"client_id": "hub", "client_secret": "x", "authorize_url": "http://127.0.0.1/a"}


@pytest.mark.parametrize(
    ("answer", "status", "says"),
    [
        ({"preferred_username": "ada"}, None, "ada"),
        ({}, 403, "preferred_username is missing"),
        ({"preferred_username": None}, 403, "is missing or is no text"),
        ({"preferred_username": 12345}, 403, "is no text"),
        ({"preferred_username": ["ada"]}, 403, "is no text"),
        ({"preferred_username": " "}, 403, "is missing"),
        (["ada"], 502, "cannot be used"),
        ("ada", 502, "cannot be used"),
        (None, 502, "cannot be used"),
        (b"<html>sorry</html>", 502, "cannot be used"),
        (b"", 502, "cannot be used"),
    ],
)
def test_an_identity_provider_s_answer_that_says_nothing_is_told_in_words(
    desk: Path, answer: Any, status: int | None, says: str
) -> None:
    class Provider(http.server.BaseHTTPRequestHandler):
        def reply(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.reply(json.dumps({"access_token": "x", "token_type": "Bearer"}).encode())

        def do_GET(self) -> None:
            self.reply(answer if isinstance(answer, bytes) else json.dumps(answer).encode())

        def log_message(self, *arguments: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Provider) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        gate = authenticators.CarrelOidcAuthenticator(
            **PROVIDER, token_url=url, userdata_url=url, username_claim="preferred_username", enable_pkce=False,
            oauth_callback_url="http://127.0.0.1/hub/oauth_callback",
        )  # fmt: skip
        try:
            if status is None:
                assert asyncio.run(gate.authenticate(Caller()))["name"] == says
                return
            with pytest.raises(web.HTTPError) as refused:
                asyncio.run(gate.authenticate(Caller()))
        finally:
            server.shutdown()
    assert refused.value.status_code == status and says in str(refused.value.log_message)


def test_a_provider_that_does_not_answer_is_told_in_words(desk: Path) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}"

    gate = authenticators.CarrelOidcAuthenticator(
        **PROVIDER, token_url=url, userdata_url=url, enable_pkce=False, oauth_callback_url="http://127.0.0.1/hub",
    )  # fmt: skip
    with pytest.raises(web.HTTPError, match="cannot be used"):
        asyncio.run(gate.authenticate(Caller()))


@pytest.fixture
def microsoft(tmp_path: Path) -> Iterator[tuple[str, rsa.RSAPrivateKey]]:
    """The keys of a tenant at an address as Microsoft has them."""
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    keys = tmp_path / "tenant" / "discovery" / "v2.0" / "keys"
    keys.parent.mkdir(parents=True)
    public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(private.public_key()))
    keys.write_text(json.dumps({"keys": [{**public, "kid": "1", "use": "sig"}]}))
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", private
        server.shutdown()


def test_microsoft_s_token_is_verified(microsoft: tuple[str, rsa.RSAPrivateKey]) -> None:
    url, key = microsoft
    gate = authenticators.CarrelAzureAdAuthenticator(tenant_id="tenant", graph_url=url, client_id="hub")
    good = {"aud": "hub", "iss": f"{url}/tenant/v2.0", "exp": time.time() + 60, "preferred_username": "ada@uni"}

    def claims(signer: rsa.RSAPrivateKey, **more: Any) -> Any:
        token = jwt.encode({**good, **more}, signer, algorithm="RS256", headers={"kid": "1"})
        return asyncio.run(gate.token_to_user({"id_token": token}))

    assert claims(key)["preferred_username"] == "ada@uni"
    stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    for signer, more in (
        (stranger, {}), (key, {"aud": "another"}),
        (key, {"iss": f"{url}/other/v2.0"}), (key, {"exp": time.time() - 60}),
    ):  # fmt: skip
        with pytest.raises(Exception, match="could not be verified"):
            claims(signer, **more)


def test_an_unreadable_roster_lets_nobody_in(desk: Path) -> None:
    (desk / "roster.json").write_text("{")
    with pytest.raises(Exception, match="list of users cannot be read"):
        authenticators.CarrelDummyAuthenticator().check_allowed("ada", {})
