# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every key of an instance and of a lab: how it is read, and what it is when nobody says anything."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._plan import values
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.names import read_name
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.problems import Problems
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.reset import Reset, read_reset
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.schema import (
    INVALID,
    Invalid,
    Reader,
    boolean,
    choice,
    given,
    listing,
    mapping,
    number,
    record,
    text,
    whole,
)
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.url import Url, read_url

GIB = 1 << 30
DAY = 24 * 60 * 60
PROXY_DEFAULTS: dict[str, Any] = {"websocket": "upgrade", "max_body": GIB, "timeout_seconds": 600}


@dataclasses.dataclass(frozen=True)
class Tls:
    mode: Any
    certificate: Any = None
    private_key: Any = None

    def differs(self, other: Tls) -> bool:
        """Leaves out what has a problem of its own."""
        pairs = zip(dataclasses.astuple(self), dataclasses.astuple(other))
        return any(one != two for one, two in pairs if INVALID not in (one, two))


_tls = record(
    {"mode": choice(*values.TLS_MODES), "certificate": values.host_path, "private_key": values.host_path},
    {"mode": "one of " + ", ".join(values.TLS_MODES)},
)


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


# The keys of both kinds. The rest is in LAB and, for hubs, in _plan_hub_keys.
COMMON: dict[str, Reader] = {
    "name": read_name,
    "kind": choice("lab", "hub"),
    "url": read_url,
    "state": choice("present", "held", "absent"),
    "image": values.image_source,
    "engine": read_name,
    "port": whole(1024, 65535),
    "tls": read_tls,
    "hsts_seconds": whole(0, 10 * 365 * DAY),
    "login": values.login,
    "owner": values.id_pair,
    "command": listing(text("text in quotes"), "a list of words, for example [start-notebook.py]"),
    "sudo": boolean,
    "pull": choice("missing", "always"),
    "start_timeout_seconds": whole(1, 3600),
    "proxy": read_proxy,
    "reset": read_reset,
}

LIMITS: dict[str, Reader] = {
    # Docker refuses less than 6M (moby, daemon/daemon_unix.go: linuxMinMemory).
    "memory": values.size(6 << 20, 64 << 40, "6M", "64T"),
    "cpus": number(0.01, 4096),
    "pids": whole(16, 4194304),
}

LAB: dict[str, Reader] = {
    **COMMON,
    "build": values.build,
    "password": values.secret,
    "token": values.secret,
    "token_file": values.token_file,
    "notebooks": values.container_path,
    "persist": values.persist("notebooks"),
    "volumes": listing(values.volume, "a list of {source, target, read_only}"),
    "environment": values.environment(values.LAB_ENVIRONMENT.get),
    "user": values.id_pair,
    **LIMITS,
    "collaboration": boolean,
    "idle_shutdown_seconds": whole(0, 366 * DAY),
}


@dataclasses.dataclass
class Instance:
    """What both kinds have. A field is INVALID when a problem with it is reported already."""

    path: str
    name: Any
    kind: Any = "lab"
    url: Any = None
    state: Any = "present"
    image: Any = None
    engine: Any = None
    port: Any = None
    tls: Any = None
    hsts_seconds: Any = None
    login: Any = None
    owner: Any = None
    command: Any = None
    sudo: Any = None
    pull: Any = "missing"
    start_timeout_seconds: Any = 120
    proxy: Any = dataclasses.field(default_factory=lambda: dict(PROXY_DEFAULTS))
    persist: Any = dataclasses.field(default_factory=dict)
    environment: Any = dataclasses.field(default_factory=dict)
    reset: Any = dataclasses.field(default_factory=Reset)
    # What is allowed but looks wrong.
    warnings: list[str] = dataclasses.field(default_factory=list)

    @property
    def address(self) -> Url | None:
        """The url, if all of it is good."""
        return self.url if isinstance(self.url, Url) and INVALID not in self.url else None

    @property
    def wanted(self) -> bool:
        """There after the run: present or held."""
        return bool(self.state != "absent")

    @property
    def memory_limit(self) -> int:
        """Bytes that its containers may take together, as far as there are limits."""
        return 0


@dataclasses.dataclass
class Lab(Instance):
    build: Any = None
    password: Any = None
    token: Any = None
    token_file: Any = None
    # Of the server that takes over during a reset; allocated.
    second_port: int | None = None
    notebooks: Any = "/home/jovyan/work"
    volumes: Any = dataclasses.field(default_factory=list)
    user: Any = None
    memory: Any = None
    cpus: Any = None
    pids: Any = None
    collaboration: Any = None
    idle_shutdown_seconds: Any = 0

    @property
    def memory_limit(self) -> int:
        return int(self.memory or 0)


def instance_path(index: int, value: Any) -> str:
    """Where an instance is written, with its name if it has a good one."""
    name = read_name(value.get("name") if isinstance(value, Mapping) else None, "", Problems())
    return f"jupyter_instances[{index}]" + (f" ({name})" if isinstance(name, str) else "")


def limits_text(limits: Mapping[str, Any]) -> str:
    """For the summary."""
    parts = [
        f"{values.size_text(limits['memory'])} of memory" if limits["memory"] else "",
        f"{values.size_text(limits['swap'])} of swap" if limits.get("swap") else "",
        f"{limits['cpus']:g} CPU{'' if limits['cpus'] == 1 else 's'}" if limits["cpus"] else "",
        f"{limits['pids']} processes" if limits["pids"] else "",
    ]
    return ", ".join(filter(None, parts)) or "none"
