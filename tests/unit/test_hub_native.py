# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The native authenticator with a real database, and strangers who guess and sign up."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from carrel_hub import files, native, people
from carrel_hub.native import CarrelNativeAuthenticator
from jupyterhub import orm
from tornado.web import HTTPError

USER = {"identity": "grace", "admin": False, "memory": None, "swap": None, "cpus": None, "pids": None}


@pytest.fixture
def authenticator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CarrelNativeAuthenticator]:
    monkeypatch.setattr(files, "STATE", tmp_path)
    monkeypatch.setattr(people, "DIRECTORY", tmp_path)
    monkeypatch.setattr(native, "DIRECTORY", tmp_path)
    (tmp_path / "roster.json").write_text(json.dumps({"version": 1, "users": {"grace": USER}, "blocked": []}))
    (tmp_path / "passwords.json").write_text(json.dumps({"grace": "from the inventory"}))
    session = orm.new_session_factory("sqlite://")()
    yield CarrelNativeAuthenticator(
        db=session, allowed_failed_logins=3, seconds_before_next_try=60, minimum_password_length=8
    )
    session.close()


def login(authenticator: CarrelNativeAuthenticator, name: str, password: str) -> str | None:
    return asyncio.run(authenticator.authenticate(None, {"username": name, "password": password}))


def test_who_is_listed_again_comes_in_though_a_stranger_took_the_name(authenticator: CarrelNativeAuthenticator) -> None:
    assert login(authenticator, "grace", "from the inventory") == "grace"
    authenticator.delete_user(SimpleNamespace(name="grace"))
    assert authenticator.get_user("grace") is None
    assert authenticator.create_user("grace", "a stranger's own")
    assert login(authenticator, "grace", "a stranger's own") is None
    assert login(authenticator, "grace", "from the inventory") == "grace"


def test_an_account_that_waits_does_not_confirm_endless_guesses(authenticator: CarrelNativeAuthenticator) -> None:
    authenticator.create_user("eve", "eve's password")
    with pytest.raises(HTTPError, match="approval"):
        login(authenticator, "eve", "eve's password")
    for _ in range(3):
        assert login(authenticator, "eve", "wrong password") is None
    assert login(authenticator, "eve", "eve's password") is None


def test_guesses_at_a_listed_name_are_counted(authenticator: CarrelNativeAuthenticator) -> None:
    for _ in range(3):
        assert login(authenticator, "grace", "wrong password") is None
    assert login(authenticator, "grace", "from the inventory") is None
    authenticator.login_attempts.clear()
    assert login(authenticator, "grace", "from the inventory") == "grace"
