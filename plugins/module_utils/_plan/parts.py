# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys of an instance whose values are mappings, with the keys in these."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from ansible_collections.carrel.jupyter.plugins.module_utils._plan import types, values
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.compose_keys import volume_hint
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.key import Key, Type, filled, mapping_of, record_of
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.problems import Problems, show
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.schema import INVALID, Invalid, given, text

TLS: dict[str, Key] = {
    "mode": Key(
        types.choice(*values.TLS_MODES),
        "Where the certificate comes from: files of the host, the host itself (browsers warn), or an authority such as "
        "Let's Encrypt; none is for http:// addresses.",
        example="files",
        needed="one of " + ", ".join(values.TLS_MODES),
    ),
    "certificate": Key(
        types.HOST_PATH,
        "With mode files: the certificate with the intermediate ones, PEM.",
        example="/etc/ssl/certs/geo.example.org.pem",
    ),
    "private_key": Key(
        types.HOST_PATH,
        "With mode files: the certificate's private key, PEM.",
        example="/etc/ssl/private/geo.example.org.key",
    ),
}
_tls = record_of(TLS)


@dataclasses.dataclass(frozen=True)
class Tls:
    mode: Any
    certificate: Any = None
    private_key: Any = None

    def differs(self, other: Tls) -> bool:
        """Compare, except for keys whose problem is reported already."""
        pairs = zip(dataclasses.astuple(self), dataclasses.astuple(other))
        return any(one != two for one, two in pairs if INVALID not in (one, two))


def read_tls(value: Any, path: str, problems: Problems) -> Tls | Invalid:
    parts = _tls({"mode": value} if isinstance(value, str) else value, path, problems)
    if isinstance(parts, Invalid):
        return parts
    tls = Tls(**parts)
    if not given(tls.mode):
        return INVALID
    files = [item for item in (tls.certificate, tls.private_key) if item]
    if tls.mode == "files" and len(files) < 2:
        problems.add(path, "tls_pair")
    elif tls.mode != "files" and files:
        problems.add(path, "tls_no_pair", mode=tls.mode)
    else:
        return tls
    return Tls(tls.mode, INVALID, INVALID)


# Apache removes quotes around the first word of a line.
_SECTION = re.compile(r"[\"']?<(/?)(\w+)[^>]*>?")


def _directives(value: Any, path: str, problems: Problems) -> str | Invalid:
    """Check that the lines do not end a section of ours, which would affect other sites. Apache tests the rest."""
    checked: str | Invalid = text("lines of Apache's configuration", multiline=True)(value, path, problems)
    if isinstance(checked, Invalid):
        return checked
    open_sections: list[str] = []
    for line in re.sub(r"\\\r?\n", "", checked).splitlines():
        found = _SECTION.match(line.strip())
        if found and not found[1]:
            open_sections.append(found[2].lower())
        elif found and (not open_sections or open_sections.pop() != found[2].lower()):
            problems.add(path, "directives_section", value=show(line.strip()))
            return INVALID
    if open_sections or checked.rstrip().endswith("\\"):
        problems.add(path, "directives_end")
        return INVALID
    return checked


PROXY: dict[str, Key] = {
    "websocket": Key(
        types.choice("upgrade", "wstunnel"),
        "How Apache passes on websockets: with mod_proxy_http or with mod_proxy_wstunnel.",
        example="wstunnel",
        default="upgrade",
    ),
    "max_body": Key(
        types.size(1 << 20, 1 << 50, "1M", "1024T, or 0 for no limit", zero=True),
        "Size of the largest request, such as an upload.",
        example="4G",
        default=1 << 30,
        unset="`1G`",
    ),
    # jupyter_server pings websockets every 30 s (websocket_ping_interval). With less than that, idle ones would break.
    "timeout_seconds": Key(
        types.whole(31, types.DAY),
        "How long a request or a websocket may be silent.",
        example=1200,
        default=600,
    ),
    "directives": Key(
        Type(_directives, "lines of Apache's configuration", "</Location>"),
        "Your own directives for Apache, only for this instance; they must be allowed in a <Location>.",
        example='Header always set X-Robots-Tag "noindex"\n',
    ),
}
_proxy = mapping_of(PROXY)


def read_proxy(value: Any, path: str, problems: Problems) -> dict[str, Any] | Invalid:
    parts = _proxy(value, path, problems)
    return INVALID if parts is INVALID or INVALID in parts.values() else filled(PROXY, parts)


VOLUME: dict[str, Key] = {
    "source": Key(
        types.HOST_FOLDER,
        "Folder of the host, which the engine's account or the container's mapped id must be able to read.",
        example="/data/maps",
        needed="a folder of the host",
    ),
    "target": Key(
        types.CONTAINER_PATH,
        "Its place in the container.",
        example="/home/jovyan/maps",
        needed="a folder in the container",
    ),
    "read_only": Key(types.BOOLEAN, "Whether the container may only read it.", example=True, default=False),
}
_volume = record_of(VOLUME)


class Volume(NamedTuple):
    source: Any
    target: Any
    read_only: Any


def read_volume(value: Any, path: str, problems: Problems) -> Volume | Invalid:
    if isinstance(value, str):
        problems.add(path, "volume_text", hint=volume_hint(value))
        return INVALID
    parts = _volume(value, path, problems)
    return parts if isinstance(parts, Invalid) else Volume(**filled(VOLUME, parts))


_DECLARED = {
    "declared": Key(
        types.text("the name of an image in jupyter_images"),
        "Name of an image in jupyter_images.",
        example="statistics",
        needed="the name of an image in jupyter_images",
    )
}
_declared = record_of(_DECLARED)


def read_image(value: Any, path: str, problems: Problems) -> str | dict[str, str] | Invalid:
    """Read an image reference, or {declared: NAME} for an image in jupyter_images."""
    source: str | dict[str, str] | Invalid = (_declared if isinstance(value, Mapping) else values.image)(
        value, path, problems
    )
    return source


def _relative(value: Any, path: str, problems: Problems) -> str | Invalid:
    checked: str | Invalid = text("a file name, for example Dockerfile")(value, path, problems)
    if checked is not INVALID and (checked.startswith("/") or ".." in checked.split("/")):
        problems.add(path, "relative_path", value=show(checked))
        return INVALID
    return checked


BUILD: dict[str, Key] = {
    "context": Key(
        types.text("a folder of the control node that holds a Dockerfile"),
        "Folder of the control node; a relative path begins at the inventory's folder.",
        example="files/images/geo",
        needed="the folder that holds the Dockerfile",
    ),
    "dockerfile": Key(
        Type(_relative, "a file name in the folder", "../Dockerfile"),
        "The Dockerfile.",
        example="Dockerfile.gpu",
        default="Dockerfile",
    ),
    "args": Key(
        Type(values.variables('a mapping, for example {VERSION: "1.0"}'), "a mapping of names to text", [], "dict"),
        "Build arguments of the Dockerfile; do not put secrets here.",
        example={"PACKAGES": "geopandas"},
        default={},
    ),
    "no_cache": Key(types.BOOLEAN, "Whether to build all layers again.", example=True, default=False),
}
_build = record_of(BUILD)


def read_build(value: Any, path: str, problems: Problems) -> dict[str, Any] | Invalid:
    parts = _build({"context": value} if isinstance(value, str) else value, path, problems)
    return parts if isinstance(parts, Invalid) else filled(BUILD, parts)


LOGIN: dict[str, Key] = {
    "notice": Key(
        types.text("the notice, as plain text", multiline=True),
        "Plain text that the page shows beside its form.",
        example="The service restarts daily at 01:25.",
    ),
    "notice_html": Key(
        types.text("the notice, as HTML that you trust", multiline=True),
        "HTML that the page shows beside its form, unchanged.",
        example='See the <a href="https://example.org/rooms">room plan</a>.',
    ),
    "template": Key(
        types.text("the path of a whole login page on the control node"),
        "Path of your own page on the control node; a relative path begins at the inventory's folder.",
        example="files/login/login.html",
    ),
}
_login = mapping_of(LOGIN)


def read_login(value: Any, path: str, problems: Problems) -> dict[str, str | None] | Invalid:
    parts = _login(value, path, problems)
    if isinstance(parts, Invalid):
        return parts
    chosen = [key for key, item in parts.items() if item is not None]
    if len(chosen) != 1:
        problems.add(path, "login_one", count=len(chosen) or "none")
    return {key: parts.get(key) for key in LOGIN}


EGRESS: dict[str, Key] = {
    "allow": Key(
        types.NETWORKS,
        "Networks that they may connect to; an empty list: none.",
        example=["192.0.2.0/24", "198.51.100.7"],
        needed="a list of networks, [] for none",
    ),
}
_egress = record_of(EGRESS)


def read_egress(value: Any, path: str, problems: Problems) -> dict[str, Any] | Invalid:
    keys: dict[str, Any] | Invalid = _egress(value, path, problems)
    return INVALID if isinstance(keys, Invalid) or not given(keys["allow"]) or INVALID in keys["allow"] else keys


TLS_TYPE = Type(read_tls, "a mode, or a mapping", "letsencrypt", "raw", keys=TLS)
PROXY_TYPE = Type(read_proxy, "a mapping", "upgrade", "dict", keys=PROXY)
VOLUME_TYPE = Type(read_volume, "a mapping", "/data:/data", "dict", keys=VOLUME)
IMAGE_TYPE = Type(read_image, "an image reference, or `{declared: NAME}` with a name in jupyter_images", "Lab:1.0")
BUILD_TYPE = Type(read_build, "a folder of the control node, or a mapping", {}, "dict", keys=BUILD)
LOGIN_TYPE = Type(read_login, "a mapping with exactly one of its keys", {}, "dict", keys=LOGIN)
EGRESS_TYPE = Type(read_egress, "a mapping", "nothing", "dict", keys=EGRESS)
