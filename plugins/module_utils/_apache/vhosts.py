# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which files of Apache the declared virtual hosts need, and which certificates."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

VirtualHost = Mapping[str, Any]


def site_name(server_name: str, port: int) -> str:
    return f"carrel-{re.sub('[^A-Za-z0-9.-]', '_', server_name)}-{port}".lower()


def sites(vhosts: Sequence[VirtualHost], redirect: bool) -> list[dict[str, Any]]:
    """Return each site's name, its template, and what the template needs.

    REDIRECT: whether port 80 leads to https, except where it has a virtual host of its own.
    """
    found: dict[str, tuple[str, dict[str, Any]]] = {}
    for vhost in vhosts:
        found[site_name(vhost["server_name"], vhost["port"])] = ("vhost.conf.j2", {"vhost": vhost})
    for target in _redirects(vhosts) if redirect else ():
        found.setdefault(site_name(target["server_name"], 80), ("redirect.conf.j2", {"target": target}))
    if any(vhost["tls"]["mode"] == "acme" for vhost in vhosts):
        found["carrel-acme"] = ("acme.conf.j2", {})
    if found:
        found["carrel-server"] = ("server.conf.j2", {})
    return [{"name": name, "template": template, "variables": given} for name, (template, given) in found.items()]


def _redirects(vhosts: Sequence[VirtualHost]) -> list[dict[str, Any]]:
    groups: dict[str, list[VirtualHost]] = {}
    for vhost in with_tls(vhosts):
        groups.setdefault(vhost["server_name"].lower(), []).append(vhost)
    return [
        {
            "server_name": group[0]["server_name"],
            "port": 443 if any(vhost["port"] == 443 for vhost in group) else min(vhost["port"] for vhost in group),
            "subdomains": any(vhost.get("subdomain_paths") for vhost in group),
        }
        for group in groups.values()
    ]


def with_tls(vhosts: Sequence[VirtualHost]) -> list[VirtualHost]:
    return [vhost for vhost in vhosts if vhost["tls"]["mode"] != "none"]


def certificates(vhosts: Sequence[VirtualHost], directory: str) -> list[dict[str, Any]]:
    """Return the pairs, once each, as apache_sites takes them. DIRECTORY has the self-signed ones."""
    found: list[dict[str, Any]] = []
    for vhost in with_tls(vhosts):
        tls, name = vhost["tls"], vhost["server_name"]
        if tls["mode"] == "acme":
            continue
        own = tls["mode"] == "selfsigned"
        pair = {
            "server_name": name,
            "certificate": f"{directory}/{name}.crt" if own else tls["certificate"],
            "private_key": f"{directory}/{name}.key" if own else tls["private_key"],
            "self_signed": own,
            "subdomains": bool(vhost.get("subdomain_paths")),
        }
        if pair not in found:
            found.append(pair)
    return found
