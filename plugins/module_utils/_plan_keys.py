# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every key of an instance: how it is read, and what it is when nobody says anything."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils import _plan_values as values
from ansible_collections.carrel.jupyter.plugins.module_utils._names import read_name
from ansible_collections.carrel.jupyter.plugins.module_utils._plan_problems import Problems
from ansible_collections.carrel.jupyter.plugins.module_utils._schema import (
    INVALID,
    Invalid,
    Reader,
    boolean,
    choice,
    listing,
    mapping,
    number,
    record,
    text,
    whole,
)
from ansible_collections.carrel.jupyter.plugins.module_utils._url import Url, read_url

GIB = 1 << 30
DAY = 24 * 60 * 60
PROXY_DEFAULTS: dict[str, Any] = {"websocket": "upgrade", "max_body": GIB, "timeout_seconds": 600}


@dataclasses.dataclass(frozen=True)
class Tls:
    mode: str
    certificate: str | None = None
    private_key: str | None = None


_tls = record(
    {"mode": choice(*values.TLS_MODES), "certificate": values.host_path, "private_key": values.host_path},
    {"mode": "one of " + ", ".join(values.TLS_MODES)},
)


def read_tls(value: Any, path: str, problems: Problems) -> Tls | Invalid:
    parts = _tls({"mode": value} if isinstance(value, str) else value, path, problems)
    if isinstance(parts, Invalid):
        return parts
    tls = Tls(**parts)
    files = [item for item in (tls.certificate, tls.private_key) if item]
    if tls.mode == "files" and len(files) < 2:
        problems.add(path, "tls_pair")
        return INVALID
    if tls.mode != "files" and files:
        problems.add(path, "tls_no_pair", mode=tls.mode)
        return INVALID
    return tls


_proxy = mapping(
    {
        "websocket": choice("upgrade", "wstunnel"),
        "max_body": values.size(1 << 20, 1 << 50, "1M", "1024T, or 0 for no limit", zero=True),
        # More than the 30 s between the pings of jupyter_server (websocket_ping_interval), or idle sockets break.
        "timeout_seconds": whole(31, DAY),
    }
)


def read_proxy(value: Any, path: str, problems: Problems) -> dict[str, Any] | Invalid:
    parts = _proxy(value, path, problems)
    if parts is INVALID or INVALID in parts.values():
        return INVALID
    return {**PROXY_DEFAULTS, **{key: item for key, item in parts.items() if item is not None}}


def _read_kind(value: Any, path: str, problems: Problems) -> str | Invalid:
    if value == "hub":
        problems.add(path, "kind_hub")
        return INVALID
    kind: str | Invalid = choice("lab")(value, path, problems)
    return kind


INSTANCE: dict[str, Reader] = {
    "name": read_name,
    "kind": _read_kind,
    "url": read_url,
    "state": choice("present", "held", "absent"),
    "image": values.image,
    "build": values.build,
    "engine": read_name,
    "port": whole(1024, 65535),
    "tls": read_tls,
    "hsts_seconds": whole(0, 10 * 365 * DAY),
    "password": values.secret,
    "token": values.secret,
    "login": values.login,
    "reset": values.reset,
    "notebooks": values.container_path,
    "persist": values.persist,
    "volumes": listing(values.volume, "a list of {source, target, read_only}"),
    "environment": values.environment,
    "user": values.id_pair,
    "owner": values.id_pair,
    "command": listing(text("text in quotes"), "a list of words, for example [start-notebook.py]"),
    # Docker refuses less than 6M (moby, daemon/daemon_unix.go: linuxMinMemory).
    "memory": values.size(6 << 20, 64 << 40, "6M", "64T"),
    "cpus": number(0.01, 4096),
    "pids": whole(16, 4194304),
    "collaboration": boolean,
    "idle_shutdown_seconds": whole(0, 366 * DAY),
    "pull": choice("missing", "always"),
    "start_timeout_seconds": whole(1, 3600),
    "proxy": read_proxy,
}

# Keys that can't be the same for two instances.
NOT_DEFAULTS = ("name", "url", "port")


@dataclasses.dataclass
class Lab:
    """One instance. A field is INVALID when a problem with it is reported already."""

    path: str
    name: Any
    kind: Any = "lab"
    url: Any = None
    state: Any = "present"
    image: Any = None
    build: Any = None
    engine: Any = None
    port: Any = None
    tls: Any = None
    hsts_seconds: Any = None
    password: Any = None
    token: Any = None
    login: Any = None
    reset: Any = None
    notebooks: Any = "/home/jovyan/work"
    persist: Any = dataclasses.field(default_factory=dict)
    volumes: Any = dataclasses.field(default_factory=list)
    environment: Any = dataclasses.field(default_factory=dict)
    user: Any = None
    owner: Any = None
    command: Any = None
    memory: Any = None
    cpus: Any = None
    pids: Any = None
    collaboration: Any = None
    idle_shutdown_seconds: Any = 0
    pull: Any = "missing"
    start_timeout_seconds: Any = 120
    proxy: Any = dataclasses.field(default_factory=lambda: dict(PROXY_DEFAULTS))

    @property
    def wanted(self) -> bool:
        """There after the run: present or held."""
        return bool(self.state != "absent")


def read_defaults(value: Any, problems: Problems) -> dict[str, Any]:
    parsed = mapping(INSTANCE)({} if value is None else value, "jupyter_defaults", problems)
    if parsed is INVALID:
        return {}
    for key in NOT_DEFAULTS:
        if parsed.pop(key, None) is not None:
            problems.add(f"jupyter_defaults.{key}", "not_a_default")
    return {key: item for key, item in parsed.items() if item is not None}


def instance_path(index: int, value: Any) -> str:
    """Where an instance is written, with its name if it has a good one."""
    name = read_name(value.get("name") if isinstance(value, Mapping) else None, "", Problems())
    return f"jupyter_instances[{index}]" + (f" ({name})" if isinstance(name, str) else "")


def read_lab(value: Any, index: int, defaults: Mapping[str, Any], problems: Problems) -> Lab | None:
    """An instance with the defaults below it; a null of its own takes a default away. None: nothing more to say."""
    path = instance_path(index, value)
    if isinstance(value, Mapping) and value.get("kind", defaults.get("kind")) == "hub":
        problems.add(f"{path}.kind", "kind_hub")
        return None
    own = mapping(INSTANCE)(value, path, problems)
    if own is INVALID:
        return None
    if own.get("name") is None:
        problems.add(f"{path}.name", "missing", wanted="a name, for example geo")
        own["name"] = INVALID
    below = dict(defaults)
    # An instance that says where its image comes from replaces what the defaults say about it.
    if own.get("image") is not None or own.get("build") is not None:
        below.pop("image", None)
        below.pop("build", None)
    # The defaults speak about https.
    if isinstance(own.get("url"), Url) and own["url"].scheme == "http":
        below.pop("tls", None)
        below.pop("hsts_seconds", None)
    merged = {key: own[key] if key in own else below.get(key) for key in INSTANCE}
    return Lab(path=path, **{key: item for key, item in merged.items() if item is not None})
