# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which sites and certificates the declared virtual hosts need; tests/e2e has what the role makes of them."""

from __future__ import annotations

from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._apache.vhosts import certificates, site_name, sites

FILES = {"mode": "files", "certificate": "/etc/ssl/a.crt", "private_key": "/etc/ssl/a.key"}


def vhost(server_name: str, port: int = 443, mode: str = "selfsigned", **more: Any) -> dict[str, Any]:
    return {"server_name": server_name, "port": port, "tls": {"mode": mode}, "locations": [], **more}


def redirects(*vhosts: dict[str, Any]) -> list[dict[str, Any]]:
    return [site["variables"]["target"] for site in sites(vhosts, True) if site["template"] == "redirect.conf.j2"]


def test_each_virtual_host_has_a_site_with_all_that_it_declares() -> None:
    declared = [vhost("a.example.org"), vhost("a.example.org", 8443), vhost("B.example.org", 80, "none")]
    found = sites(declared, False)
    assert [(site["name"], site["template"]) for site in found] == [
        ("carrel-a.example.org-443", "vhost.conf.j2"),
        ("carrel-a.example.org-8443", "vhost.conf.j2"),
        ("carrel-b.example.org-80", "vhost.conf.j2"),
        ("carrel-server", "server.conf.j2"),
    ]
    assert [site["variables"]["vhost"] for site in found[:3]] == declared
    assert sites([], True) == []


def test_port_80_leads_to_https_once_for_each_name() -> None:
    below = vhost("a.example.org", 9443, subdomain_paths=["/user/"])
    assert redirects(vhost("a.example.org", 8443), below, vhost("b.example.org", 8443), vhost("b.example.org")) == [
        {"server_name": "a.example.org", "port": 8443, "subdomains": True},
        {"server_name": "b.example.org", "port": 443, "subdomains": False},
    ]
    assert redirects(vhost("A.example.org"), vhost("a.example.org", 8443, subdomain_paths=[])) == [
        {"server_name": "A.example.org", "port": 443, "subdomains": False}
    ]


def test_a_name_that_is_served_on_port_80_does_not_lead_elsewhere() -> None:
    both = (vhost("a.example.org"), vhost("a.example.org", 80, "none"))
    assert redirects(*both) == [] and redirects(vhost("a.example.org", 80, "none")) == []
    assert {site["name"] for site in sites(both, True)} >= {site_name("a.example.org", 80)}


def test_acme_has_a_site_for_the_whole_host() -> None:
    assert [site["name"] for site in sites([vhost("a.example.org", mode="acme")], False)][1:] == [
        "carrel-acme",
        "carrel-server",
    ]


def test_each_pair_is_given_once_and_none_for_acme() -> None:
    own = vhost("b.example.org", subdomain_paths=["/user/"])
    given = [vhost("a.example.org", port, tls=FILES) for port in (443, 8443)]
    assert certificates([*given, own, vhost("c", mode="acme"), vhost("d", 80, "none")], "/etc/ssl/carrel") == [
        {
            "server_name": "a.example.org",
            "certificate": "/etc/ssl/a.crt",
            "private_key": "/etc/ssl/a.key",
            "self_signed": False,
            "subdomains": False,
        },
        {
            "server_name": "b.example.org",
            "certificate": "/etc/ssl/carrel/b.example.org.crt",
            "private_key": "/etc/ssl/carrel/b.example.org.key",
            "self_signed": True,
            "subdomains": True,
        },
    ]
