# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How often a client may try, and how clients are told apart."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest
from carrel_hub import brake
from carrel_hub.brake import Brake, Visitors, client
from tornado.httputil import HTTPHeaders


def test_tries_count_for_a_while_and_refused_ones_do_not() -> None:
    now = [0.0]
    tries = Brake(2, 60, lambda: now[0])
    assert [tries.take("a"), tries.take("a"), tries.take("a"), tries.take("b")] == [True, True, False, True]
    now[0] = 59
    assert not tries.take("a")
    now[0] = 61
    assert tries.take("a") and tries.take("a") and not tries.take("a")
    tries.give_back("a")
    assert tries.take("a") and not tries.take("a")
    tries.forget("a")
    assert tries.take("a")


def test_endless_names_take_no_endless_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(brake, "MOST_KEYS", 10)
    tries = Brake(1, 60)
    for number in range(1000):
        assert tries.take(number)
    assert len(tries._tries) == 10 and not tries.take(999)


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("172.20.0.2", "192.0.2.7, 172.20.0.1", "192.0.2.7"),  # Apache, then the proxy
        ("172.20.0.2", "198.51.100.1, 192.0.2.7, 172.20.0.1", "192.0.2.7"),
        ("172.20.0.2", "172.20.0.9", "172.20.0.9"),  # a user's container, through the proxy
        ("172.20.0.2", "192.0.2.7, 172.20.0.9", "172.20.0.9"),
        ("172.20.0.9", "192.0.2.7, 172.20.0.1", "172.20.0.9"),  # and past it
        ("172.20.0.2", "", "172.20.0.2"),
        ("172.20.0.2", "nonsense, 172.20.0.1", "172.20.0.2"),
        ("172.20.0.2", "172.20.0.1", "172.20.0.2"),
        ("172.20.0.2", "2001:db8:1:2:3:4:5:6, 172.20.0.1", "2001:db8:1:2::/64"),
        ("172.20.0.2", "2001:db8:1:2:ffff::1, 172.20.0.1", "2001:db8:1:2::/64"),
        ("172.20.0.2", "::ffff:192.0.2.7, 172.20.0.1", "192.0.2.7"),
    ],
)
def test_the_address_of_a_client(peer: str, forwarded: str, address: str) -> None:
    assert client(peer, forwarded, ["172.20.0.2"], ["172.20.0.1"]) == address


def test_the_proxy_is_looked_up_now_and_then() -> None:
    now = [0.0]
    visitors = Visitors("localhost", lambda: now[0])
    connection = SimpleNamespace(context=SimpleNamespace(address=("127.0.0.1", 1)))
    request = SimpleNamespace(connection=connection, headers=HTTPHeaders({"X-Forwarded-For": "192.0.2.7"}))

    def who() -> str:
        return asyncio.run(visitors.address(request))

    assert who() == "192.0.2.7"
    visitors._proxy = "carrel.invalid"
    assert who() == "192.0.2.7"
    now[0] = 11
    assert who() == "127.0.0.1"
