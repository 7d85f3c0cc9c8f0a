# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Under which address people reach a container."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.carrel.jupyter.plugins.module_utils._plan.problems import Problems
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.schema import INVALID
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.url import Url, read_url

LOOPBACK = ("127.0.0.1", "::1", "localhost")
_EVERYWHERE = ("", "0.0.0.0", "::")  # noqa: S104 - read, not opened
_DEFAULT = {"http": 80, "https": 443}


class UnknownAddressError(Exception):
    """Nobody says under which address it is reached."""


@dataclass(frozen=True)
class Address:
    """`port` is None if Apache is to listen on the port that the container has now; of each of `sites` the `path`, and
    whether it is `shared` with others."""

    url: str
    tls: Any
    port: int | None
    sites: list[dict[str, Any]]


def find(
    container: Mapping[str, Any],
    published: Mapping[str, Any],
    base: str | None,
    host: Mapping[str, Any],
    notes: list[str],
) -> Address:
    """HOST is the survey. Raises UnknownAddressError."""
    port = int(published["host"])
    sites = sorted((site for site in host["sites"] if port in site["backends"]), key=_rank)
    notes += [*_restrictions(sites), *_alone(container, port, sites)]
    wanted = _declared(container["environment"].get("JUPYTER_WEBURL", ""))
    named = [site for site in sites if wanted and wanted.host in site["names"]]
    site = next(iter(named or sites), None)
    unresolved = sorted(
        {
            f"{other['path']} ({name})"
            for other in host["sites"]
            if not other["backends"]
            for name in other["unresolved"]
        }
    )
    if wanted and (named or not sites):
        url = str(wanted)
    elif site:
        scheme = "https" if site["tls"] else "http"
        public = "" if site["port"] == _DEFAULT[scheme] else f":{site['port']}"
        url = f"{scheme}://{site['names'][0]}{public}/{(base or '').strip('/')}"
        if wanted:
            notes.append(f"JUPYTER_WEBURL says {wanted}, {site['path']} says {site['names'][0]}: the address is {url}")
    elif unresolved:
        raise UnknownAddressError(
            f"which port is behind {', '.join(unresolved)} cannot be read, so its address is not known: write "
            f"127.0.0.1:{port} there if it is this one, or set JUPYTER_WEBURL in .env and start the container again, "
            "and adopt again"
        )
    elif published["address"] not in LOOPBACK:
        notes.append(f"nothing was in front of it: Apache listens on port {port} now, and the container on another one")
        return Address(f"http://{host['hostname']}:{port}/", "none", None, [])
    else:
        raise UnknownAddressError(
            f"no site of Apache or nginx on this host sends requests to 127.0.0.1:{port}, and JUPYTER_WEBURL is not "
            "set: set it in .env, start the container again, and adopt again"
        )
    url = url if url.endswith("/") else f"{url}/"
    notes += _other_names(sites, url)
    below = len([part for part in urlsplit(url).path.split("/") if part]) > 0
    files = [{"path": found["path"], "shared": found["shared"] or below} for found in sites]
    if url.startswith("http://"):
        return Address(url, "none", port, files)
    if site and site["certificate"]:
        pair = {"certificate": site["certificate"], "private_key": site["private_key"]}
        return Address(url, {"mode": "files", **pair}, port, files)
    notes.append(
        "its certificate was not found on this host, so it gets a self-signed one: a proxy in front must ask https:// "
        "here from now on and take that one, or write tls with your certificate's files or acme"
    )
    return Address(url, "selfsigned", port, files)


def _rank(site: Mapping[str, Any]) -> tuple[bool, bool]:
    """The best first."""
    return not site["tls"], site["certificate"] is None


def _restrictions(sites: list[Mapping[str, Any]]) -> Iterator[str]:
    for path in sorted({site["path"] for site in sites}):
        limits = dict.fromkeys(limit for site in sites if site["path"] == path for limit in site["limits"])
        if limits:
            yield (
                f"WARNING: {path} lets in only some ({', '.join(limits)}), and that is not carried over: it would "
                "be open to all who reach the host, so write proxy.directives first (docs/howto/extend.md)"
            )
    for path in sorted({site["path"] for site in sites}):
        addresses = dict.fromkeys(at for site in sites if site["path"] == path for at in site["addresses"])
        if addresses:
            yield _opened(path, addresses)
    for path in sorted({site["path"] for site in sites}):
        unread = dict.fromkeys(file for site in sites if site["path"] == path for file in site["unread"])
        if unread:
            yield f"{path} includes {', '.join(unread)}, not read: look there for limits of access and certificates"


def _alone(container: Mapping[str, Any], port: int, sites: list[Mapping[str, Any]]) -> Iterator[str]:
    addresses = [published["address"] for published in container["ports"] if published["host"] == port]
    narrow = dict.fromkeys(address for address in addresses if address not in LOOPBACK)
    if narrow and not sites and not narrow.keys() & set(_EVERYWHERE):
        yield _opened("its port", narrow)


def _opened(what: str, addresses: Iterable[str]) -> str:
    return (
        f"WARNING: {what} is open on {', '.join(addresses)} alone, and that is not carried over: Apache listens on all "
        "addresses of the host, so set apache_listen_address, which counts for all its sites, or write Require ip into "
        "proxy.directives first (docs/howto/extend.md)"
    )


def _other_names(sites: list[Mapping[str, Any]], url: str) -> Iterator[str]:
    names = sorted({name for site in sites for name in site["names"]} - {urlsplit(url).hostname or ""})
    if names:
        yield f"its other names end, because an instance has one: {', '.join(names)}"


def _declared(text: str) -> Url | None:
    url = read_url(text, "url", Problems())
    if not isinstance(url, Url) or INVALID in url or url.host in LOOPBACK or urlsplit(text).hostname is None:
        return None
    return url
