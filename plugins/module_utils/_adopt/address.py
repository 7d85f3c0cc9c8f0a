# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Under which address people reach a container."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.carrel.jupyter.plugins.module_utils._plan.problems import Problems
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.schema import INVALID
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.url import Url, read_url

LOOPBACK = ("127.0.0.1", "::1", "localhost")
_DEFAULT = {"http": 80, "https": 443}


class UnknownAddressError(Exception):
    """Nobody says under which address it is reached."""


@dataclass(frozen=True)
class Address:
    """`port` is None if Apache is to listen on the port that the container has now."""

    url: str
    tls: Any
    port: int | None
    sites: list[str]


def find(
    container: Mapping[str, Any],
    published: Mapping[str, Any],
    base: str | None,
    host: Mapping[str, Any],
    notes: list[str],
) -> Address:
    """HOST is the survey. Raises UnknownAddressError."""
    port = int(published["host"])
    sites = [site for site in host["sites"] if port in site["backends"]]
    paths = sorted({site["path"] for site in sites})
    wanted = _declared(container["environment"].get("JUPYTER_WEBURL", ""))
    sites.sort(key=lambda site: site["certificate"] is None)
    named = [site for site in sites if wanted and wanted.host in site["names"]]
    site = next(iter(named or sites), None)
    if wanted and (named or not sites):
        url = str(wanted)
    elif site:
        scheme = "https" if site["certificate"] else "http"
        public = "" if site["port"] == _DEFAULT[scheme] else f":{site['port']}"
        url = f"{scheme}://{site['names'][0]}{public}/{(base or '').strip('/')}"
        if wanted:
            notes.append(f"JUPYTER_WEBURL says {wanted}, {site['path']} says {site['names'][0]}: the address is {url}")
    elif published["address"] not in LOOPBACK:
        notes.append(f"nothing was in front of it: Apache listens on port {port} now, and the container on another one")
        return Address(f"http://{host['hostname']}:{port}/", "none", None, [])
    else:
        raise UnknownAddressError(
            f"no site of Apache or nginx on this host sends requests to 127.0.0.1:{port}, and JUPYTER_WEBURL is not "
            "set: set it in .env, start the container again, and adopt again"
        )
    url = url if url.endswith("/") else f"{url}/"
    if url.startswith("http://"):
        return Address(url, "none", port, paths)
    if site and site["certificate"]:
        files = {"certificate": site["certificate"], "private_key": site["private_key"]}
        return Address(url, {"mode": "files", **files}, port, paths)
    notes.append(
        "its certificate is not on this host, so it gets a self-signed one: a proxy in front must ask https:// here "
        "from now on and take that one, or write tls with your certificate's files or acme"
    )
    return Address(url, "selfsigned", port, paths)


def _declared(text: str) -> Url | None:
    url = read_url(text, "url", Problems())
    if not isinstance(url, Url) or INVALID in url or url.host in LOOPBACK or urlsplit(text).hostname is None:
        return None
    return url
