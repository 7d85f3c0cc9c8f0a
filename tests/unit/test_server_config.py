# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json

import pytest
from ansible_collections.carrel.jupyter.plugins.module_utils._host import server_settings
from ansible_collections.carrel.jupyter.plugins.module_utils._site import server_config


def test_one_file_for_both_generations() -> None:
    settings = {"ServerApp": {"base_url": "/tao/"}, "IdentityProvider": {"cookie_name": "tao"}}
    config = server_config.build(settings, "argon2:hash", "")
    assert config == {
        "ServerApp": {"base_url": "/tao/", "password": "argon2:hash", "token": "", "allow_password_change": False},
        "IdentityProvider": {"cookie_name": "tao", "token": ""},
        "PasswordIdentityProvider": {"hashed_password": "argon2:hash", "allow_password_change": False},
    }
    assert settings == {"ServerApp": {"base_url": "/tao/"}, "IdentityProvider": {"cookie_name": "tao"}}
    assert json.loads(server_config.text(config)) == config
    assert server_config.text(config) == server_config.text(server_config.parse(server_config.text(config).encode()))


@pytest.mark.parametrize(
    ("settings", "password", "token", "message"),
    [
        ({"ServerApp": {"token": "x"}}, None, None, "settings.ServerApp.token must not be set: use the option token"),
        ({"PasswordIdentityProvider": {"hashed_password": ""}}, None, None, "use the option password"),
        ({"ServerApp": {"allow_password_change": True}}, None, None, "always false"),
        ({"ServerApp": 1}, None, None, "settings.ServerApp must be a dictionary"),
        ({}, "", None, "password is empty"),
        ({}, None, "", "token is empty"),
        ({}, "secret ", None, "password begins or ends with a space"),
        ({}, None, "to\x01ken", "token has a control character"),
        ({}, "pass\nword", None, "password has a control character"),
    ],
)
def test_problems(settings: dict[str, object], password: str | None, token: str | None, message: str) -> None:
    (found,) = server_config.problems(settings, password, token)
    assert message in found
    assert "secret" not in found and "word\n" not in found


def test_no_problems_and_all_at_once() -> None:
    assert server_config.problems({"ServerApp": {"ip": "0.0.0.0"}}, "pass word $ü", "token") == []
    assert len(server_config.problems({"ServerApp": 1, "X": []}, "", "")) == 4


def test_the_diff_shows_that_secrets_change_but_not_which() -> None:
    old = server_config.build({"ServerApp": {"ip": "a"}}, "argon2:old", "token1")
    new = server_config.build({"ServerApp": {"ip": "b"}}, "argon2:new", "token1")
    before, after = server_config.masked(old, new)
    for text in (before, after):
        assert not any(secret in text for secret in ("argon2", "old", "token1"))
    assert json.loads(before)["ServerApp"]["password"] == "********"
    assert json.loads(after)["ServerApp"]["password"] == "******** (new)"
    assert json.loads(after)["ServerApp"]["token"] == "********"
    assert '"ip": "b"' in after
    assert old["ServerApp"]["password"] == "argon2:old"


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b"\xff\xfe"])
def test_a_damaged_file_counts_as_missing(content: bytes | None) -> None:
    assert server_config.parse(content) == {}


def test_a_damaged_section_has_no_secret() -> None:
    damaged = {"ServerApp": [], "IdentityProvider": {"token": 1}}
    assert server_config.secret(damaged, "ServerApp", "password") == ""
    assert server_config.secret(damaged, "IdentityProvider", "token") == ""
    server_config.masked(damaged, server_config.build({}, "a", "b"))


def test_the_checksum_is_that_of_the_generation_for_a_generated_token() -> None:
    first, rotated, other = (
        server_config.build({}, "", token, generation)
        for token, generation in (("a" * 48, "one"), ("b" * 48, "one"), ("b" * 48, "two"))
    )
    assert server_config.checksum(first) == server_config.checksum(rotated) != server_config.checksum(other)
    assert first["IdentityProvider"]["token"] == "a" * 48
    assert server_config.checksum(server_config.build({}, "", "a")) != server_config.checksum(
        server_config.build({}, "", "b")
    )


def test_other_credentials() -> None:
    before = server_config.build({}, "argon2:hash", "")
    assert server_config.same_credentials(before, server_config.build({"ServerApp": {"ip": "x"}}, "argon2:hash", ""))
    assert not server_config.same_credentials(before, server_config.build({}, "argon2:other", ""))
    assert not server_config.same_credentials(before, server_config.build({}, "argon2:hash", "token"))
    assert not server_config.same_credentials({}, before)


@pytest.mark.parametrize(("token", "good"), [("a" * 48, True), ("", False), ("short", False), ("a" * 20 + " ", False)])
def test_what_is_a_generated_token(token: str, good: bool) -> None:
    assert bool(server_config.GENERATED.fullmatch(token)) is good


def test_a_hash_that_takes_hours_is_replaced_without_being_verified() -> None:
    """The account of the lab can write the file, and root compares it on every run."""
    present = server_settings.hash_password("correct horse", "")
    assert server_settings.hash_password("correct horse", present) == present
    for cost in ("t=4294967295", "t=11"):
        endless = present.replace("t=10", cost)
        assert endless != present
        again = server_settings.hash_password("correct horse", endless)
        assert again != endless and "t=10," in again
    assert server_settings.hash_password("correct horse", "argon2:x") != "argon2:x"
