# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which sites of Apache and nginx send requests to a port of the host itself, and what they do besides."""

from __future__ import annotations

import re
from typing import Any

_BACKEND = re.compile(r"\b(?:https?|wss?)://(?:localhost|127\.0\.0\.1|\[::1\]):([0-9]{1,5})\b")
# Where requests go: elsewhere with "!", which leaves out a path.
_PASSED = re.compile(
    r"(?:\bproxy_pass|^\s*ProxyPass(?:Match)?(?:[ \t]+[\"']?[/^]\S*)?|^\s*RewriteRule[ \t]+\S+(?=.*\[[^\]]*\bP\b))"
    r"[ \t]+[\"']?([^\s;\"']+)",
    re.IGNORECASE | re.MULTILINE,
)
# Paths that Apache passes on: of the directive, or of the section that it is in.
_PATH = re.compile(
    r"(?:^\s*ProxyPass(?:Match)?[ \t]+|<Location(?:Match)?[ \t]+)([\"']?[/^][^\s>]*)(?=[ \t]+[\"']?\w+://|>[^<]*\bProxyPass)",
    re.IGNORECASE | re.MULTILINE,
)
_REWRITTEN = re.compile(r"^\s*RewriteRule[ \t].*\[[^\]]*\bP\b", re.IGNORECASE | re.MULTILINE)
_FILES = re.compile(r"(?:^|[;{}])\s*(?:alias|root|try_files|fastcgi_pass|uwsgi_pass)\s", re.MULTILINE)  # of nginx
_APACHE = re.compile(r"<VirtualHost\s+([^>\n]*)>(.*?)</VirtualHost>", re.IGNORECASE | re.DOTALL)
_NGINX = re.compile(r"\bserver\s*\{")
_UPSTREAM = re.compile(r"\bupstream\s+(\S+)\s*\{([^}]*)\}")
_INCLUDE = re.compile(r"(?:^|[;{}])\s*Include(?:Optional)?\s+([^\s;]+)", re.IGNORECASE | re.MULTILINE)
_EVERYWHERE = ("", "*", "_default_", "0.0.0.0", "[::]")  # noqa: S104 - read, not opened
# Directives that let in only some.
_APACHE_LIMIT = re.compile(
    r"^\s*((?:Require(?!\s+all\s+granted)|AuthType(?!\s+None)|SSLVerifyClient(?!\s+none)|Allow(?!\s+from\s+all)|Deny)\b.*)$",
    re.IGNORECASE | re.MULTILINE,
)
_NGINX_LIMIT = re.compile(
    r"(?:^|[;{}])\s*((?:allow|deny|auth_basic(?!\s+off)|auth_request(?!\s+off)|auth_jwt(?!\s+off)"
    r"|ssl_verify_client(?!\s+off))\s[^;]+)",
    re.MULTILINE,
)


def sites(path: str, text: str) -> list[dict[str, Any]]:
    """Each virtual host that passes requests on: its names, its port, its certificate, the backends' ports.

    `addresses` are those that it listens on, if not on all. `limits` are the directives that let in only some, `unread`
    the files that it includes, `unresolved` the backends whose ports are not known, `shared` says that the file does
    more than this site.
    """
    lines = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    nginx = "/nginx/" in path
    blocks, outside = _nginx_blocks(lines) if nginx else _apache_blocks(lines)
    found = [_nginx(block, outside) if nginx else _apache(address, block, outside) for address, block in blocks]
    return [
        {"path": path, **site, "shared": _shared(site, found, outside)}
        for site in found
        if (site["backends"] or site["unresolved"]) and site["names"]
    ]


def _whole(block: str) -> bool:
    """Whether all paths go to backends, as far as their directives say, and not only some below others' content."""
    paths = [path.strip("\"'") for path in _PATH.findall(block)]
    return not paths or any(path.startswith("^") or path == "/" for path in paths) or bool(_REWRITTEN.search(block))


def _apache(address: str, block: str, outside: str) -> dict[str, Any]:
    found = re.search(r":([0-9]{1,5})\b", address)
    port = int(found[1]) if found else 80
    own = _words(block, r"^\s*SSLCertificateFile\s+(\S+)")
    certificate, key = (
        _words(block, pattern) or _words(outside, pattern)
        for pattern in (r"^\s*SSLCertificateFile\s+(\S+)", r"^\s*SSLCertificateKeyFile\s+(\S+)")
    )
    off = re.search(r"^\s*SSLEngine\s+off\b", block, re.IGNORECASE | re.MULTILINE)
    on = re.search(r"^\s*SSLEngine\s+on\b", f"{block}\n{outside}", re.IGNORECASE | re.MULTILINE)
    tls = not off and bool(on or own or port == 443)
    names = _words(block, r"^\s*Server(?:Name|Alias)\s+(.+)$")
    passed = _passed(block, outside, _APACHE_LIMIT)
    passed["elsewhere"] = passed["elsewhere"] or not _whole(block)
    return {**_site(names, port, tls, certificate, key), "addresses": _addresses(address.split()), **passed}


def _nginx(block: str, outside: str) -> dict[str, Any]:
    listens = [listen.split() for listen in re.findall(r"\blisten\s+([^;]+);", block)]
    ports = [(_port(first), rest) for first, *rest in listens]
    certificate, key = (
        _words(block, pattern) or _words(outside, pattern)
        for pattern in (r"\bssl_certificate\s+([^;\s]+);", r"\bssl_certificate_key\s+([^;\s]+);")
    )
    everywhere = bool(re.search(r"\bssl\s+on\s*;", f"{block}\n{outside}"))
    encrypted = sorted((port != 443, port) for port, rest in ports if everywhere or "ssl" in rest or port == 443)
    port = encrypted[0][1] if encrypted else next((port for port, _rest in ports), 80)
    names = _words(block, r"\bserver_name\s+([^;]+);")
    passed = _passed(_resolved(block, outside), outside, _NGINX_LIMIT)
    addresses = _addresses([first for first, *_rest in listens if _port(first) == port])
    return {**_site(names, port, bool(encrypted), certificate, key), "addresses": addresses, **passed}


def _port(listen: str) -> int:
    found = re.search(r"(?:^|:)([0-9]{1,5})$", listen)
    return int(found[1]) if found else 80  # an address alone


def _addresses(listens: list[str]) -> list[str]:
    hosts = ["" if listen.isdigit() else re.sub(r":(?:[0-9]{1,5}|\*)$", "", listen.strip("\"'")) for listen in listens]
    return [] if any(host in _EVERYWHERE for host in hosts) else list(dict.fromkeys(hosts))


def _site(names: list[str], port: int, tls: bool, certificate: list[str], key: list[str]) -> dict[str, Any]:
    return {
        "names": [name.rpartition("//")[2].partition(":")[0] for name in names if name != "_"],
        "port": port,
        "tls": tls,
        "certificate": certificate[0] if tls and certificate else None,
        # Apache takes the key from the certificate's file if it is told of no other.
        "private_key": (key or certificate)[0] if tls and certificate else None,
    }


def _passed(block: str, outside: str, limit: re.Pattern[str]) -> dict[str, Any]:
    targets = [target for target in _PASSED.findall(block) if not _BACKEND.match(target)]
    # two words, because what follows can be a secret
    found = (" ".join(directive.split()[:2]) for directive in limit.findall(f"{block}\n{outside}"))
    return {
        "backends": sorted({int(port) for port in _BACKEND.findall(block)}),
        "limits": list(dict.fromkeys(found)),
        "unread": list(dict.fromkeys(_INCLUDE.findall(block))),
        "unresolved": sorted({target for target in targets if _is_name(target)}),
        "elsewhere": bool(targets or (limit is _NGINX_LIMIT and _FILES.search(block))),
    }


def _is_name(target: str) -> bool:
    """Whether it is a variable, or a group of servers that is described elsewhere."""
    return bool(re.match(r"balancer://|https?://(?:[^/]*\$|[^/.:\[]+(?:/|$))", target, re.IGNORECASE))


def _resolved(block: str, outside: str) -> str:
    """With the one server of an upstream in place of its name."""
    for name, inner in _UPSTREAM.findall(outside):
        servers = re.findall(r"\bserver\s+([^;\s]+)", inner)
        if len(servers) == 1:
            server = servers[0].replace("\\", r"\\")
            block = re.sub(rf"(?<=://){re.escape(name)}(?=[/;\s])", server, block)
    return block


def _shared(site: dict[str, Any], found: list[dict[str, Any]], outside: str) -> bool:
    """Whether more than this site would go with the file; its redirect from http, say, is a part of it."""
    others = [other for other in found if not set(other["names"]) <= set(site["names"]) or not other["names"]]
    rest = re.sub(r"(?i:</?IfModule[^>]*>)|\bmap\s[^{}]*\{[^}]*\}", "", _UPSTREAM.sub("", outside))
    return bool(others or site["elsewhere"] or len(site["backends"]) > 1 or rest.strip())


def _words(block: str, pattern: str) -> list[str]:
    return [
        word.strip("\"'")
        for found in re.findall(pattern, block, re.IGNORECASE | re.MULTILINE)
        for word in found.split()
    ]


def _apache_blocks(text: str) -> tuple[list[tuple[str, str]], str]:
    return _APACHE.findall(text), _APACHE.sub("", text)


def _nginx_blocks(text: str) -> tuple[list[tuple[str, str]], str]:
    """What is between the braces of each `server`, and what is outside."""
    blocks, outside, end = [], "", 0
    while start := _NGINX.search(text, end):
        outside += text[end : start.start()]
        depth, end = 1, start.end()
        while depth and end < len(text):
            depth += {"{": 1, "}": -1}.get(text[end], 0)
            end += 1
        blocks.append(("", text[start.end() : end - 1]))
    return blocks, outside + text[end:]
