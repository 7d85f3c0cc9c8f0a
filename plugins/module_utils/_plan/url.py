# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read public addresses, https://host[:port]/path/, into a normal form."""

from __future__ import annotations

import ipaddress
import re
from typing import Any, NamedTuple

from ansible_collections.carrel.jupyter.plugins.module_utils._plan.problems import Problems, show
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.schema import (
    INVALID,
    Invalid,
    has_control,
    text,
    wrong_type,
)

try:
    import idna
except ImportError:
    idna = None  # type: ignore[assignment]

_DEFAULT_PORTS = {"http": 80, "https": 443}
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_BARE = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)+(/[a-z0-9-]+)*/?")
_SEGMENT = re.compile(r"[A-Za-z0-9_~-][A-Za-z0-9._~-]*")
_EXAMPLE = 'an address in quotes, for example "https://lab.example.org/"'

# First path segments that jupyter_server and its usual extensions serve.
_SERVER_PATHS = """
    api consoles custom doc edit files hub kernelspecs lab login logout lsp metrics nbconvert nbextensions notebooks
    proxy services static terminals tree user view voila
"""
SERVER_PATHS = frozenset(_SERVER_PATHS.split())


class Url(NamedTuple):
    scheme: str
    host: Any
    port: Any
    path: Any  # begins and ends with a slash

    def __str__(self) -> str:
        port = "" if self.port == _DEFAULT_PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{self.host}{port}{self.path}"


def is_ipv4(host: str) -> bool:
    try:
        return bool(ipaddress.IPv4Address(host))
    except ValueError:
        return False


def _punycode(host: str) -> str | None:
    """Encode a host as browsers do. Python's own IDNA 2003 turns straße into strasse, which is another domain."""
    if idna is None:
        return None
    try:
        name = idna.encode(host, uts46=True).decode("ascii")
    except UnicodeError:
        return None
    return name if read_host_name(name, "", Problems()) else None


def read_host_name(host: str, path: str, problems: Problems) -> str | None:
    if host.startswith("["):
        problems.add(path, "url_ipv6")
        return None
    if not host.isascii():
        ascii_host = _punycode(host)
        problems.add(path, "url_host_unicode", value=show(host), hint=f": {ascii_host}" if ascii_host else "")
        return None
    name = host.lower().removesuffix(".")
    labels = name.split(".")
    valid = len(name) <= 253 and all(_LABEL.fullmatch(label) for label in labels)
    # Browsers treat a name whose last label is a number as an IPv4 address (WHATWG URL, host parsing).
    if not valid or (re.fullmatch(r"[0-9]+|0x[0-9a-f]*", labels[-1]) and not is_ipv4(name)):
        problems.add(path, "url_host", value=show(host))
        return None
    return name


def _read_port(text: str, scheme: str, path: str, problems: Problems) -> int | None:
    if not text:
        return _DEFAULT_PORTS[scheme]
    port = int(text) if re.fullmatch(r"0*[0-9]{1,5}", text) else 0
    if not 1 <= port <= 65535:
        problems.add(path, "url_port", value=show(text))
        return None
    other = "http" if scheme == "https" else "https"
    if port == _DEFAULT_PORTS[other]:
        problems.add(
            path, "url_port_scheme", scheme=scheme, port=port, wanted=f"another port, or {other}:// and the tls for it"
        )
        return None
    return port


def _read_path(text: str, path: str, problems: Problems) -> str | None:
    if "%" in text:
        problems.add(path, "url_path_encoded")
        return None
    trimmed = text[1:-1] if text.endswith("/") else text[1:]
    segments = trimmed.split("/") if text not in ("", "/") else []
    if len(text) > 200 or not all(_SEGMENT.fullmatch(segment) for segment in segments):
        problems.add(path, "url_path", value=show(text))
        return None
    return "/" + "".join(segment + "/" for segment in segments)


def read_url(value: Any, path: str, problems: Problems) -> Url | Invalid:
    """Read an address and report all of its problems. Bad parts are INVALID; a bad scheme becomes the right one."""
    if not isinstance(value, str):
        return wrong_type(value, _EXAMPLE, path, problems)
    if has_control(value) or re.search(r"[\s\\]", value):
        problems.add(path, "url_character")
        value = "".join(char for char in value if not has_control(char) and not re.match(r"[\s\\]", char))
    if "@" in value:
        # The text before @ may be a password, so it is not shown.
        problems.add(path, "url_userinfo")
        scheme = re.match(r"https?://|", value, re.IGNORECASE)
        value = (scheme[0] if scheme else "") + value.rpartition("@")[2]
    match = re.fullmatch(r"(?i:(https?)://)([^/?#]*)([^?#]*)(.*)", value)
    if not match:
        meant = read_url(f"https://{value}", path, Problems()) if _BARE.fullmatch(value) else INVALID
        good = isinstance(meant, Url) and INVALID not in meant
        hint = f": https://{value}" if good else ", for example https://lab.example.org/"
        problems.add(path, "url_scheme", hint=hint)
        return meant if good else Url("https", INVALID, INVALID, INVALID)
    scheme_text, authority, url_path, rest = match[1].lower(), match[2], match[3], match[4]
    if rest:
        problems.add(path, "url_query")
    split = re.fullmatch(r"(\[[^\]]*\]|[^:]*)(?::(.*))?", authority)
    if not split:
        problems.add(path, "url_host", value=show(authority))
    host = read_host_name(split[1], path, problems) if split else None
    port = _read_port(split[2] or "", scheme_text, path, problems) if split else None
    clean_path = _read_path(url_path, path, problems)
    return Url(scheme_text, *(INVALID if part is None else part for part in (host, port, clean_path)))


def read_address(value: Any, path: str, problems: Problems) -> str | Invalid:
    """Read the name or IPv4 address of a host."""
    checked: str | Invalid = text("a host name or an IPv4 address")(value, path, problems)
    if isinstance(checked, Invalid):
        return checked
    host = read_host_name(checked, path, problems)
    return INVALID if host is None else host
