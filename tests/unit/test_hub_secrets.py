# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
from itertools import count
from typing import Any

import pytest
from ansible_collections.carrel.jupyter.plugins.module_utils._site import hub_secrets

GIVEN = {"client_secret": "from the vault", "dummy_password": None}


def complete(present: dict[str, Any], database: bool = False) -> dict[str, str | None]:
    numbers = count(1)
    return hub_secrets.complete(present, GIVEN, database, lambda: f"{next(numbers):064x}")


def test_what_nobody_gives_is_generated() -> None:
    made = complete({}, database=True)
    generated = [made[name] for name in hub_secrets.GENERATED]
    assert len(set(generated)) == 5 and None not in generated
    assert (made["client_secret"], made["dummy_password"]) == ("from the vault", None)


def test_what_was_generated_is_kept_and_what_is_given_follows_the_inventory() -> None:
    before = complete({}, database=True)
    after = complete({**before, "client_secret": "old"}, database=True)
    assert after == before


def test_a_database_has_a_password_which_outlives_it() -> None:
    assert complete({})["database_password"] is None
    before = complete({}, database=True)
    assert complete(before)["database_password"] == before["database_password"]


@pytest.mark.parametrize("bad", [None, "", "short", 5, "G" * 64])
def test_an_unusable_secret_is_replaced(bad: Any) -> None:
    good = complete({})
    assert complete({**good, "cookie_secret": bad})["cookie_secret"] != bad


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff"])
def test_a_damaged_file_is_never_replaced(content: bytes) -> None:
    with pytest.raises(hub_secrets.DamagedError, match=r"/x is damaged.*keep the file database-password"):
        hub_secrets.parse("/x", content)


@pytest.mark.parametrize("bad", [{}, {"database_password": None}, {"database_password": "short"}])
def test_a_lost_password_of_the_database_comes_from_its_own_file(bad: dict[str, Any]) -> None:
    password = "a1" * 32
    found = hub_secrets.with_database_password(bad, "/x", f"{password}\n".encode())
    assert complete(found, database=True)["database_password"] == password


def test_secrets_json_decides_if_both_have_a_password() -> None:
    before = complete({}, database=True)
    assert hub_secrets.with_database_password(before, "/x", b"b2" * 32) == before


@pytest.mark.parametrize("content", [b"", b"short", b"\xff" * 64])
def test_a_new_password_never_replaces_one_that_cannot_be_read(content: bytes) -> None:
    with pytest.raises(hub_secrets.DamagedError, match=r"/x holds no password.*PostgreSQL still uses the old one"):
        hub_secrets.with_database_password({}, "/x", content)
    assert hub_secrets.with_database_password({}, "/x", None) == {}


def test_each_program_gets_its_own() -> None:
    made = complete({}, database=True)
    texts = hub_secrets.texts({}, made, {"ada": "lovelace"})
    assert json.loads(texts["hub/secrets.json"] or "") == made
    assert json.loads(texts["hub/passwords.json"] or "") == {"ada": "lovelace"}
    assert texts["proxy.env"] == f"CONFIGPROXY_AUTH_TOKEN='{made['proxy_token']}'\n"
    assert texts["metrics-token"] == f"{made['metrics_token']}\n"
    assert texts["database-password"] == made["database_password"]


def test_no_file_for_a_database_that_never_was() -> None:
    assert hub_secrets.texts({}, complete({}), {})["database-password"] is None


def test_the_diff_names_changed_secrets_without_values() -> None:
    before, after = '{"a": "one", "b": "two"}', '{"a": "one", "b": "three", "c": null}'
    old, new = hub_secrets.masked(before, after)
    assert json.loads(old) == {"a": "********", "b": "********"}
    assert json.loads(new) == {"a": "********", "b": "******** (new)", "c": None}
    assert hub_secrets.masked(None, after)[0] == ""


def test_the_diff_of_a_plain_secret() -> None:
    assert hub_secrets.masked(None, "one") == ("", "******** (new)")
    assert hub_secrets.masked("one", "two") == ("********", "******** (new)")
    assert hub_secrets.masked("one", "one") == ("********", "********")
    assert hub_secrets.masked("one", None) == ("********", "")


def test_each_service_has_a_token_in_a_file_of_its_own_which_goes_with_it() -> None:
    numbers = count(1)

    def made(present: dict[str, Any], *services: str) -> dict[str, str | None]:
        return hub_secrets.complete(present, GIVEN, False, lambda: f"{next(numbers):064x}", services)

    first = made({}, "stats", "page")
    assert first["services/stats"] != first["services/page"]
    after = made(first, "stats")
    assert after["services/stats"] == first["services/stats"] and "services/page" not in after
    texts = hub_secrets.texts(first, after, {})
    assert (texts["service-stats-token"], texts["service-page-token"]) == (f"{first['services/stats']}\n", None)
