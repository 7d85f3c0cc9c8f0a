# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who gets in, by what identity providers and the roster say. tests/integration has a real provider."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import http.server
import json
import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jwt
import pytest
from carrel_hub import authenticators, custom, directory, files, native, owners, people, several, spawner, spawning
from cryptography.hazmat.primitives.asymmetric import rsa
from jupyterhub import orm
from ldap3.core.exceptions import LDAPException
from tornado import web

from testbed.web_server import WebServer


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
    gate = Guests(guests=True)
    assert asyncio.run(ask(gate, "ada", "ADA"))
    assert asyncio.run(ask(gate, "bob--uni", "bob@uni"))
    for name, identity in (("ada", "ada@other"), ("bob--uni", "bob--uni")):
        with pytest.raises(Exception, match="somebody else's"):
            asyncio.run(ask(gate, name, identity))
    assert gate.is_guest("bob--uni") and not gate.is_guest("carl")
    assert not asyncio.run(gate.check_blocked_users("eve"))


class GitHub:
    """In place of GitHub, which is out of reach: who is a member, and with which status it answers everything else."""

    def __init__(self) -> None:
        self.members = {"bob"}
        self.status = 200
        self.asked: list[str] = []
        github = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                github.asked.append(self.path)
                member = self.path == "/orgs/uni/members/bob" and "bob" in github.members
                found = 204 if member else 404 if self.path.startswith("/orgs") else 200
                self.send_response(found if github.status == 200 else github.status)
                body = b'{"login": "bob"}' if found == 200 else b""
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments: Any) -> None:
                pass

        self.server = WebServer(Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


STATE = {"token_response": {"access_token": "secret", "token_type": "bearer"}}


class Guest:
    """A user of the hub's, with what the log-in left."""

    admin = False

    def __init__(self, name: str, state: Any = ...) -> None:
        self.name, self.state = name, STATE if state is ... else state
        self.db = orm.new_session_factory("sqlite://")()
        found = orm.User(name=name)
        self.db.add_all([found, orm.OAuthClient(identifier="jupyterhub")])
        self.db.commit()
        found.new_api_token(note="mine")

    async def get_auth_state(self) -> Any:
        return self.state

    def tokens(self) -> int:
        return len(orm.User.find(self.db, self.name).api_tokens)


@pytest.fixture
def github() -> Iterator[GitHub]:
    github = GitHub()
    yield github
    github.close()


class Gate:
    """The authenticator at a time that the test says."""

    def __init__(self, desk: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = time.time()
        write_roster(desk, {"ada": user(identity="ada")}, [])
        self.authenticator = authenticators.CarrelGitHubAuthenticator(
            allowed_organizations={"uni"}, github_api=url, userdata_url=f"{url}/user"
        )
        monkeypatch.setattr(authenticators.time, "time", lambda: self.now)

    def log_in(self, name: str) -> bool:
        model = {"identity": name, "name": name, "admin": False, "auth_state": STATE}
        return asyncio.run(self.authenticator.check_allowed(name, model))

    def lets(self, who: Guest, seconds_later: float = 0) -> bool:
        self.now += seconds_later
        return bool(asyncio.run(self.authenticator.refresh_user(who)))


@pytest.fixture
def gate(desk: Path, github: GitHub, monkeypatch: pytest.MonkeyPatch) -> Gate:
    return Gate(desk, github.url, monkeypatch)


LATER = authenticators.ASK_SECONDS + 1


def test_github_is_asked_again_and_people_who_left_lose_all_tokens(gate: Gate, github: GitHub) -> None:
    assert gate.log_in("bob") and gate.log_in("ada") and not gate.log_in("eve")
    bob, ada = Guest("bob"), Guest("ada", None)
    github.asked.clear()
    assert gate.lets(bob, 10) and github.asked == []
    assert gate.lets(bob, LATER) and gate.lets(bob, 10) and github.asked == ["/orgs/uni/members/bob"]
    assert gate.lets(bob, 3 * authenticators.GUEST_SECONDS), "a token that was not used for days"
    assert bob.tokens() == 1
    github.members.clear()
    assert gate.lets(bob, 10) and not gate.lets(bob, LATER) and bob.tokens() == 0
    github.members = {"bob"}
    assert not gate.lets(bob, LATER), "not without a new log-in"
    assert gate.lets(ada), "who is listed is no guest"
    assert gate.log_in("bob") and gate.lets(bob)


def test_github_is_asked_about_its_own_names(gate: Gate, github: GitHub) -> None:
    """Among several authenticators names have a prefix, and git-bob may be another person at GitHub."""
    gate.authenticator.prefix = "git-"

    def log_in(identity: str) -> bool:
        model = {"identity": f"git-{identity}", "name": f"git-{identity}", "admin": False, "auth_state": STATE}
        return bool(asyncio.run(gate.authenticator.check_allowed(f"git-{identity}", model)))

    assert log_in("Bob")
    assert gate.lets(Guest("git-Bob"), LATER)
    github.asked.clear()
    github.members.clear()
    assert not gate.lets(Guest("git-Bob"), LATER)
    assert "/orgs/uni/members/bob" in github.asked and not any("git-" in path for path in github.asked)
    # An outsider of this name does not become the member whose name begins with the prefix.
    github.members = {"bob"}
    gate.authenticator.prefix = "b"
    model = {"identity": "bob", "name": "bob", "admin": False, "auth_state": STATE}
    assert not asyncio.run(gate.authenticator.allow_guest("bob", model)) and github.asked[-1].endswith("/ob")


@pytest.mark.parametrize("status", [403, 429, 500, 503])
def test_while_github_is_out_of_order_its_last_word_counts_for_a_day(gate: Gate, github: GitHub, status: int) -> None:
    assert gate.log_in("bob")
    bob = Guest("bob")
    github.status = status
    assert gate.lets(bob, LATER) and gate.lets(bob, LATER)
    assert len(github.asked) >= 2, "it is asked again"
    assert not gate.lets(bob, authenticators.GUEST_SECONDS) and bob.tokens() == 1
    github.status = 200
    assert gate.lets(bob, LATER)


def test_github_away_is_out_of_order_too(gate: Gate, github: GitHub) -> None:
    assert gate.log_in("bob")
    bob = Guest("bob")
    github.close()
    assert gate.lets(bob, LATER) and not gate.lets(bob, authenticators.GUEST_SECONDS)


def test_a_grant_that_was_taken_back_is_a_no(gate: Gate, github: GitHub) -> None:
    assert gate.log_in("bob")
    bob = Guest("bob")
    github.status = 401
    assert not gate.lets(bob, LATER) and bob.tokens() == 0


@pytest.mark.parametrize("known", ["bob", {"identity": "bob", "logged_in": 2e9}, {"identity": "bob", "member_at": 0}])
def test_guests_of_versions_before_log_in_again(gate: Gate, known: Any) -> None:
    files.write_state(owners.IDENTITIES, {"bob": known})
    assert not gate.lets(Guest("bob"))
    with pytest.raises(Exception, match="somebody else's"):
        model = {"identity": "another", "name": "bob", "admin": False, "auth_state": STATE}
        asyncio.run(gate.authenticator.check_allowed("bob", model))
    assert gate.log_in("bob") and gate.lets(Guest("bob"))
    assert gate.lets(Guest("bob", None), LATER), "without a token of GitHub's, for a day"
    assert not gate.lets(Guest("bob", None), authenticators.GUEST_SECONDS)


class Caller:
    """The handler of a browser that comes back from the provider."""

    def get_argument(self, name: str, default: Any = None) -> str:
        return "code"


@contextlib.contextmanager
def provider(answer: Any) -> Iterator[str]:
    """The address of an identity provider that gives this answer about whoever comes."""

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

    with WebServer(Provider) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


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
def test_an_identity_providers_empty_answer_is_explained(
    desk: Path, answer: Any, status: int | None, says: str
) -> None:
    write_roster(desk, {}, [])
    with provider(answer) as url:
        gate = authenticators.CarrelOidcAuthenticator(
            **PROVIDER, token_url=url, userdata_url=url, username_claim="preferred_username", enable_pkce=False,
            oauth_callback_url="http://127.0.0.1/hub/oauth_callback",
        )  # fmt: skip
        if status is None:
            assert asyncio.run(gate.authenticate(Caller()))["name"] == says
            return
        with pytest.raises(web.HTTPError) as refused:
            asyncio.run(gate.authenticate(Caller()))
    assert refused.value.status_code == status and says in str(refused.value.log_message)


TWINS = [  # names that DockerSpawner gives the directory of others, and some that look like others
    "ada\x02duni", "ada\t3x", "\x0e9", "ada\x7f", "ada\x85", "ada\u200b", "\ufeffada", "ada\u2028x", 80 * "\u00e9",
]  # fmt: skip


@pytest.mark.parametrize("name", ["ada-uni", "ada lovelace", "\u00e4da", "ada%2f", *TWINS])
def test_a_guest_has_no_name_that_is_another_s_directory(desk: Path, name: str) -> None:
    write_roster(desk, {"ada-uni": user(identity="ada-uni")}, [])
    with provider({"preferred_username": name}) as url:
        gate = authenticators.CarrelOidcAuthenticator(
            **PROVIDER, token_url=url, userdata_url=url, username_claim="preferred_username", enable_pkce=False,
            oauth_callback_url="http://127.0.0.1/hub/oauth_callback", guests=True, everybody=True,
        )  # fmt: skip
        model = asyncio.run(gate.get_authenticated_user(Caller(), None))
    assert (model and model["name"]) == (None if name in TWINS else name)
    assert name not in TWINS or owners.guests() == {}


@pytest.mark.parametrize(
    "kind",
    [
        authenticators.RosterMixin,
        authenticators.CarrelDummyAuthenticator,
        authenticators.CarrelGitHubAuthenticator,
        directory.CarrelLDAPAuthenticator,
        native.CarrelNativeAuthenticator,
        several.CarrelSeveralAuthenticator,
        custom.made("jupyterhub.auth.NullAuthenticator"),
        custom.made("oauthenticator.bitbucket.BitbucketOAuthenticator"),
    ],
)
def test_no_class_and_no_administrator_gives_such_a_name(kind: Any) -> None:
    """JupyterHub asks this about whoever logs in, and about users that administrators add."""
    gate = kind.__new__(kind)  # without what else the class wants to know
    assert gate.validate_username("ada-uni") and not any(map(gate.validate_username, ["", "a/b", *TWINS]))


@pytest.mark.parametrize("name", TWINS)
def test_whoever_has_such_a_name_gets_no_server(desk: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An older version may have let them in."""
    monkeypatch.setattr(spawner, "DIRECTORY", desk)
    (desk / "config.json").write_text("{}")
    server = spawner.CarrelSpawner(instance="class101", user=SimpleNamespace(name=name))
    with pytest.raises(spawning.SpawnRefused, match="No directory can be made"):
        asyncio.run(server.start())


@pytest.mark.parametrize(
    ("more", "name"),
    [
        ({}, "ada"),
        ({"hd": "other.example"}, None),  # an account of another organization
        ({"hd": None}, None),  # nobody's, with an address of the organization
        ({"verified_email": False}, "verified"),
        ({"verified_email": None}, "verified"),
        ({"email": "eve@uni.example"}, None),
    ],
)
def test_listed_people_come_from_their_google_organization(desk: Path, more: dict[str, Any], name: str | None) -> None:
    write_roster(desk, {"ada": user(identity="ada")}, [])
    account = {"email": "ada@uni.example", "verified_email": True, "hd": "uni.example", **more}
    with provider(account) as url:
        gate = authenticators.CarrelGoogleAuthenticator(
            **PROVIDER, token_url=url, userdata_url=url, enable_pkce=False, hosted_domain=["uni.example"],
            oauth_callback_url="http://127.0.0.1/hub/oauth_callback",
        )  # fmt: skip
        if name == "verified":
            with pytest.raises(web.HTTPError, match="not verified your e-mail address"):
                asyncio.run(gate.get_authenticated_user(Caller(), None))
            return
        found = asyncio.run(gate.get_authenticated_user(Caller(), None))
    assert (found["name"] if found else None) == name


@pytest.mark.parametrize(
    ("more", "welcome"),
    [
        ({}, True),  # many providers have no such claim
        ({"email_verified": True}, True),
        ({"email_verified": "true"}, True),
        ({"email_verified": False}, False),
        ({"email_verified": "false"}, False),
        ({"email_verified": None}, False),
    ],
)
def test_an_address_that_was_not_verified_lets_nobody_in(desk: Path, more: dict[str, Any], welcome: bool) -> None:
    write_roster(desk, {"prof@uni.example": user(identity="prof@uni.example")}, [])
    with provider({"sub": "eve", "email": "prof@uni.example", **more}) as url:
        gate = authenticators.CarrelOidcAuthenticator(
            **PROVIDER, token_url=url, userdata_url=url, enable_pkce=False, username_claim="email", login_service="Uni",
            oauth_callback_url="http://127.0.0.1/hub/oauth_callback",
        )  # fmt: skip
        if welcome:
            assert asyncio.run(gate.get_authenticated_user(Caller(), None))["name"] == "prof@uni.example"
            return
        with pytest.raises(web.HTTPError, match="Uni has not verified your e-mail address"):
            asyncio.run(gate.get_authenticated_user(Caller(), None))


@pytest.mark.parametrize("normalized", [True, False])
@pytest.mark.parametrize(
    ("said", "welcome"),
    [("kate", True), ("KATE", True), ("\u212aate", False), ("\u212aATE", False), ("\u212a\u00c4", None)],
)
def test_a_name_with_a_look_alike_is_somebody_else_s(
    desk: Path, normalized: bool, said: str, welcome: bool | None
) -> None:
    """JupyterHub makes a k of the Kelvin sign, which anybody can have in a name at the provider."""
    write_roster(desk, {"kate": user(identity="kate", admin=True)}, [])
    with provider({"preferred_username": said}) as url:
        gate = authenticators.CarrelOidcAuthenticator(
            **PROVIDER, token_url=url, userdata_url=url, enable_pkce=False, username_claim="preferred_username",
            oauth_callback_url="http://127.0.0.1/hub/oauth_callback", normalized=normalized,
        )  # fmt: skip
        if welcome is False:
            with pytest.raises(web.HTTPError, match="somebody else's"):
                asyncio.run(gate.get_authenticated_user(Caller(), None))
        else:
            found = asyncio.run(gate.get_authenticated_user(Caller(), None))
            assert (found and found["name"]) == ("kate" if welcome else None)


def test_a_provider_that_does_not_answer_is_explained(desk: Path) -> None:
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
    with WebServer(handler) as server:
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


class Directory:
    """In place of an LDAP server, which tests/integration has: it refuses every password."""

    def __init__(self) -> None:
        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                while asked := self.request.recv(1024):
                    number = asked[4:5]  # of the message, which is short
                    self.request.sendall(b"\x30\x0c\x02\x01" + number + b"\x61\x07\x0a\x01\x31\x04\x00\x04\x00")

        self.server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def test_a_wrong_password_of_the_lookup_account_counts_as_any_other() -> None:
    ldap = Directory()
    gate = directory.CarrelLDAPAuthenticator(
        server_address="127.0.0.1", server_port=ldap.server.server_address[1], tls_strategy="insecure",
        lookup_dn_search_user="cn=lookup", lookup_dn_search_password="right",
    )  # fmt: skip
    try:
        assert gate.get_connection("cn=lookup", "guess") is None and gate.get_connection("cn=ada", "right") is None
        with pytest.raises(LDAPException, match="refuses cn=lookup"):
            gate.get_connection("cn=lookup", "right")
    finally:
        ldap.close()


def test_an_unreadable_roster_lets_nobody_in(desk: Path) -> None:
    (desk / "roster.json").write_text("{")
    with pytest.raises(Exception, match="list of users cannot be read"):
        authenticators.CarrelDummyAuthenticator().check_allowed("ada", {})
