# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which sites of Apache and nginx send requests to a port of the host itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

_BACKEND = re.compile(r"\b(?:https?|wss?)://(?:localhost|127\.0\.0\.1|\[::1\]):([0-9]{1,5})\b")
_APACHE = re.compile(r"<VirtualHost\s+([^>\n]*)>(.*?)</VirtualHost>", re.IGNORECASE | re.DOTALL)


def sites(path: str, text: str) -> list[dict[str, Any]]:
    """Each virtual host that passes requests on: its names, its port, its certificate, the backends' ports."""
    lines = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    found = _nginx(lines) if "/nginx/" in path else _apache(lines)
    return [{"path": path, **site} for site in found if site["backends"] and site["names"]]


def _apache(text: str) -> Iterator[dict[str, Any]]:
    for address, block in _APACHE.findall(text):
        port = re.search(r":([0-9]+)", address)
        names = _words(block, r"^\s*Server(?:Name|Alias)\s+(.+)$")
        certificate = _words(block, r"^\s*SSLCertificateFile\s+(\S+)")
        key = _words(block, r"^\s*SSLCertificateKeyFile\s+(\S+)")
        yield _site(names, int(port[1]) if port else 80, certificate, key, block)


def _nginx(text: str) -> Iterator[dict[str, Any]]:
    for block in _blocks(text):
        listens = _words(block, r"\blisten\s+([^;]+);")
        ports = [int(word.rpartition(":")[2]) for word in listens if re.fullmatch(r"(?:.*:)?[0-9]{1,5}", word)]
        certificate = _words(block, r"\bssl_certificate\s+([^;\s]+);")
        key = _words(block, r"\bssl_certificate_key\s+([^;\s]+);")
        port = 443 if certificate and 443 in ports else next(iter(ports), 80)
        yield _site(_words(block, r"\bserver_name\s+([^;]+);"), port, certificate, key, block)


def _site(names: list[str], port: int, certificate: list[str], key: list[str], block: str) -> dict[str, Any]:
    return {
        "names": [name.rpartition("//")[2].partition(":")[0] for name in names if name != "_"],
        "port": port,
        "certificate": certificate[0] if certificate else None,
        # Apache takes the key from the certificate's file if it is told of no other.
        "private_key": (key or certificate)[0] if certificate else None,
        "backends": sorted({int(found) for found in _BACKEND.findall(block)}),
    }


def _words(block: str, pattern: str) -> list[str]:
    return [
        word.strip("\"'")
        for found in re.findall(pattern, block, re.IGNORECASE | re.MULTILINE)
        for word in found.split()
    ]


def _blocks(text: str) -> Iterator[str]:
    """What is between the braces of each `server`."""
    for start in re.finditer(r"\bserver\s*\{", text):
        depth, end = 1, start.end()
        while depth and end < len(text):
            depth += {"{": 1, "}": -1}.get(text[end], 0)
            end += 1
        yield text[start.end() : end - 1]
