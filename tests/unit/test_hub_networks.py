# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the networks of users' servers are called and given. tests/integration/test_hub_apart.py has real ones."""

from __future__ import annotations

import itertools

import pytest
from carrel_hub import egress, networks

ALL = 16384


def first(taken: list[str], count: int = 2) -> list[str]:
    return list(itertools.islice(networks.free_subnets(taken), count))


@pytest.mark.parametrize(
    ("taken", "free"),
    [
        ([], ["198.18.0.0/29", "198.18.0.8/29"]),
        (["198.18.0.0/29", "172.17.0.0/16", "fd00::/64"], ["198.18.0.8/29", "198.18.0.16/29"]),
        (["198.18.0.9/32", "198.18.0.16/28"], ["198.18.0.0/29", "198.18.0.32/29"]),
        (["198.18.0.0/16"], ["198.19.0.0/29", "198.19.0.8/29"]),
        (["198.0.0.0/8"], []),
    ],
)
def test_subnets_that_no_network_of_the_engine_has(taken: list[str], free: list[str]) -> None:
    assert first(taken) == free


def test_there_are_networks_for_all() -> None:
    assert len(first([], ALL + 1)) == ALL


@pytest.mark.parametrize("user", ["ada", "0", "ä@uni.example", "-"])
def test_the_hub_s_own_network_comes_first_in_the_alphabet(user: str) -> None:
    """By that, Docker chooses through which of its networks a container goes out."""
    assert min("class101_users", networks.name_of("class101_users", user)) == "class101_users"


def test_bridges_have_names_that_the_kernel_takes_and_the_rules_know() -> None:
    bridges = {
        networks._bridge("class101", subnet) for subnet in ("198.18.0.0/29", "198.18.0.8/29", "198.19.255.248/29")
    }
    assert len(bridges) == 3
    assert all(name.startswith(egress.prefix("class101")) and len(name) <= 15 for name in bridges)
    assert egress.prefix("class101") != egress.prefix("class102")


def test_rules_allow_the_networks_and_the_name_servers_alone() -> None:
    text = egress.rules("cabc-", ["192.0.2.0/24", "192.0.2.7/32"], {"10.0.2.3"})
    assert 'iifname != "cabc-*" accept' in text
    assert "ip daddr { 192.0.2.0/24, 198.18.0.0/15 } accept" in text, "nft refuses networks that overlap"
    assert "ip daddr { 10.0.2.3 } meta l4proto { tcp, udp } th dport 53 accept\n    drop" in text
    assert "dport" not in egress.rules("cabc-", ["192.0.2.0/24"], set())


def test_name_servers_in_reach() -> None:
    text = (
        "# a comment\nsearch uni.example\nnameserver 10.0.2.3\nnameserver 127.0.0.53\nnameserver fd00::3\nnameserver\n"
    )
    assert egress.resolvers(text) == {"10.0.2.3"}
