# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Nobody gets the account of somebody else whose name was simplified to the same one."""

from __future__ import annotations

import asyncio
import json
import urllib.error
from email.message import Message
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from carrel_hub import authenticators, files, owners, people
from carrel_hub import roster as roster_service
from carrel_hub.people import Roster
from carrel_hub.roster import changes
from tornado import web

CLIENT = {"client_id": "hub", "client_secret": "secret", "oauth_callback_url": "http://x/hub/oauth_callback"}


def person(identity: str) -> dict[str, Any]:
    return {"identity": identity, "admin": False}


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(files, "STATE", tmp_path)
    monkeypatch.setattr(people, "DIRECTORY", tmp_path)
    return tmp_path


def lists(desk: Path, **identities: str) -> None:
    users = {name: person(identity) for name, identity in identities.items()}
    (desk / "roster.json").write_text(json.dumps({"version": 1, "users": users, "blocked": []}))


def ask(authenticator: Any, name: str, identity: str) -> bool:
    return bool(asyncio.run(authenticator.check_allowed(name, {"identity": identity, "name": name, "admin": False})))


@pytest.mark.parametrize("guests", [False, True])
def test_a_name_that_is_somebody_else_s_now_begins_anew(guests: bool) -> None:
    roster = Roster({"same": person("Same@x"), "ann": person("anna.m@x"), "new": person("new")}, frozenset())
    known = {"same": "same@X", "ann": "anna.s@x", "left": "left@x"}
    assert changes(roster, ["same", "ann"], ["same", "ann"], guests, known) == ({"ann", "new"}, {"ann"})
    assert changes(roster, ["same"], ["same", "ann"], guests, known) == ({"ann", "new"}, set())


class FakeHub(roster_service.Hub):
    """In place of the hub's API, which tests/integration has: users, what is asked, and who cannot be deleted yet."""

    def __init__(self, *there: str) -> None:
        super().__init__("", "")
        self.there, self.busy, self.asked = set(there), set[str](), list[str]()

    def call(self, method: str, path: str, body: Any = None) -> Any:
        if method == "GET":
            items = [{"name": name} for name in sorted(self.there)] if path.startswith("/users?") else []
            return {"items": items, "_pagination": {"next": None}}
        self.asked.append(f"{method} {body['usernames'] if body else path}")
        if method == "POST":
            assert not self.there & set(body["usernames"]), "JupyterHub answers 409"
            self.there |= set(body["usernames"])
        elif path.rpartition("/")[2] in self.busy:
            raise urllib.error.HTTPError(path, 400, "busy", Message(), None)
        else:
            self.there.remove(path.rpartition("/")[2])
        return None


def test_each_name_is_deleted_once_and_kept_for_nobody_else(desk: Path) -> None:
    hub = FakeHub("ann", "bob", "eve")
    files.write_state(owners.LISTED, {"names": ["ann", "bob", "eve"]})
    files.write_state(owners.IDENTITIES, {"ann": {"identity": "an earlier guest", "member_at": 0}})
    lists(desk, ann="anna.s@x", bob="bob@x", eve="eve@x")
    assert roster_service.apply(hub, guests=True)
    assert hub.asked == [], "a version that did not know identities has thrown nobody out"
    lists(desk, ann="anna.m@x", bob="bob@y")
    hub.busy = {"bob"}
    assert not roster_service.apply(hub, guests=True)
    assert not roster_service.apply(hub, guests=True)
    assert owners.was_another(people.read_roster(), "bob") and not owners.was_another(people.read_roster(), "ann")
    hub.busy = set()
    assert roster_service.apply(hub, guests=True)
    assert hub.asked == [
        "DELETE /users/ann", "DELETE /users/bob", "DELETE /users/eve", "POST ['ann']",
        "DELETE /users/bob", "DELETE /users/bob", "POST ['bob']",
    ]  # fmt: skip
    assert owners.listed() == {"ann": "anna.m@x", "bob": "bob@y", "eve": "eve@x"}
    lists(desk, ann="anna.m@x", guest="somebody@x")
    files.write_state(owners.IDENTITIES, {"guest": {"identity": "else@x", "member_at": 2e9}})
    hub.there.add("guest")
    hub.asked.clear()
    assert roster_service.apply(hub, guests=True)
    assert hub.asked == ["DELETE /users/bob", "DELETE /users/guest", "POST ['guest']"]


def test_a_user_of_nobody_s_is_deleted_once(desk: Path) -> None:
    """As a restore notes it; tests/unit/test_backup_owners.py."""
    files.write_state(owners.LISTED, {"names": ["ann", "eve"], "identities": {"ann": "", "eve": ""}})
    lists(desk, ann="anna.m@x")
    gate = authenticators.CarrelOidcAuthenticator(guests=True, everybody=True, any_allow_config=True, **CLIENT)
    assert asyncio.run(gate.refresh_user(SimpleNamespace(name="ann", admin=False))) is False
    for name, identity, refusal in (("ann", "anna.m@x", "still ending"), ("eve", "eve@x", "somebody else's")):
        with pytest.raises(web.HTTPError, match=refusal):
            ask(gate, name, identity)
    hub = FakeHub("ann", "eve")
    assert roster_service.apply(hub, guests=True) and roster_service.apply(hub, guests=True)
    assert hub.asked == ["DELETE /users/ann", "DELETE /users/eve", "POST ['ann']"]
    assert owners.listed()["ann"] == "anna.m@x" and ask(gate, "ann", "anna.m@x")


def test_nobody_gets_in_while_the_name_is_still_somebody_else_s(desk: Path) -> None:
    files.write_state(owners.LISTED, {"names": ["ann"], "identities": {"ann": "anna.s@x", "left": "left@x"}})
    lists(desk, ann="anna.m@x")
    gate = authenticators.CarrelOidcAuthenticator(guests=True, everybody=True, any_allow_config=True, **CLIENT)
    assert asyncio.run(gate.refresh_user(SimpleNamespace(name="ann", admin=False))) is False
    for name, identity, refusal in (
        ("ann", "anna.s@x", "somebody else's"),
        ("ann", "anna.m@x", "still ending their sessions"),
        ("left", "leff@x", "somebody else's"),
    ):
        with pytest.raises(web.HTTPError, match=refusal):
            ask(gate, name, identity)
    files.write_state(owners.LISTED, {"names": ["ann"], "identities": {"ann": "anna.m@x"}})
    assert ask(gate, "ann", "Anna.M@x")
    assert asyncio.run(gate.refresh_user(SimpleNamespace(name="ann", admin=False))) is True
