# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan's result as plain data: the inputs of the roles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._plan_host import (
    Host,
    directory_of,
    engine_of,
    warnings_about,
)
from ansible_collections.carrel.jupyter.plugins.module_utils._plan_keys import GIB, Lab


def make_result(labs: Sequence[Lab], host: Host | None, base_dir: str) -> dict[str, Any]:
    return {
        "rootless_docker_engines": _engines(labs, host),
        "idle_engines": _idle_engines(labs, host),
        "apache_vhosts": _vhosts(labs),
        "lab_instances": [_lab(lab, host, base_dir) for lab in labs],
        "reset_jobs": [_reset(lab, host, base_dir) for lab in labs],
        "summary": [_summary(lab, host) for lab in labs],
        "warnings": warnings_about(labs, host),
    }


def _engines(labs: Sequence[Lab], host: Host | None) -> list[dict[str, Any]]:
    """Those that must run, also the ones from which an instance has yet to be removed."""
    recorded = host.engines if host else {}
    wanted = [engine_of(lab, host) for lab in labs if lab.wanted or lab.name in recorded]
    return [{"name": name, "state": "started"} for name in dict.fromkeys(wanted)]


def _idle_engines(labs: Sequence[Lab], host: Host | None) -> list[dict[str, Any]]:
    """Those on which nothing is left once the absent instances are removed."""
    names = {lab.name for lab in labs}
    # An engine runs on as long as it holds an instance that the inventory does not speak of.
    used = {engine for name, engine in host.engines.items() if name not in names} if host else set()
    used.update(engine_of(lab, host) for lab in labs if lab.wanted)
    absent = dict.fromkeys(engine_of(lab, host) for lab in labs if not lab.wanted)
    return [
        {"name": name, "state": "stopped"}
        for name in absent
        if name not in used and (host is None or name in host.all_engines)
    ]


def _vhosts(labs: Sequence[Lab]) -> list[dict[str, Any]]:
    vhosts: dict[tuple[str, int], dict[str, Any]] = {}
    for lab in labs:
        if not lab.wanted:
            continue
        key = (lab.url.host, lab.url.port)
        vhost = vhosts.setdefault(
            key,
            {
                "server_name": lab.url.host,
                "port": lab.url.port,
                "tls": {"mode": lab.tls.mode, "certificate": lab.tls.certificate, "private_key": lab.tls.private_key},
                "hsts_seconds": lab.hsts_seconds,
                "locations": [],
            },
        )
        vhost["locations"].append(
            {
                "path": lab.url.path,
                "backend": None if lab.port is None else f"http://127.0.0.1:{lab.port}",
                "instance": lab.name,
                "state": lab.state,
                "websocket": lab.proxy["websocket"],
                "max_body_bytes": lab.proxy["max_body"],
                "timeout_seconds": lab.proxy["timeout_seconds"],
            }
        )
    for vhost in vhosts.values():
        vhost["locations"].sort(key=lambda location: (-len(location["path"]), location["path"]))
    return [vhosts[key] for key in sorted(vhosts)]


def _lab(lab: Lab, host: Host | None, base_dir: str) -> dict[str, Any]:
    url = lab.url
    return {
        "name": lab.name,
        "state": lab.state,
        "engine": engine_of(lab, host),
        "directory": directory_of(lab, host, base_dir),
        "url": str(url) if url else None,
        "server_name": url.host if url else None,
        "public_port": url.port if url else None,
        "base_url": url.path if url else None,
        "port": lab.port,
        "image": lab.image,
        "build": lab.build,
        "user": lab.user,
        "owner": lab.owner,
        "command": lab.command,
        "notebooks": lab.notebooks,
        "persist": lab.persist,
        "volumes": [volume._asdict() for volume in lab.volumes],
        "environment": lab.environment,
        "password": lab.password,
        "token": lab.token,
        "collaboration": lab.collaboration,
        "idle_shutdown_seconds": lab.idle_shutdown_seconds,
        "memory": lab.memory,
        "cpus": lab.cpus,
        "pids": lab.pids,
        "login": lab.login or {"notice": None, "notice_html": None, "template": None},
        "pull": lab.pull,
        "start_timeout_seconds": lab.start_timeout_seconds,
    }


def _reset(lab: Lab, host: Host | None, base_dir: str) -> dict[str, Any]:
    # A reset would start a held instance again.
    active = lab.reset if lab.state == "present" else None
    return {
        "name": lab.name,
        "account": engine_of(lab, host),
        "directory": directory_of(lab, host, base_dir),
        "image": lab.image,
        "hour": active.hour if active else 0,
        "minute": active.minute if active else 0,
        "pull": active.pull if active else False,
        "state": "present" if active else "absent",
    }


def _summary(lab: Lab, host: Host | None) -> str:
    engine = engine_of(lab, host)
    if not lab.wanted:
        return f"{lab.name}: absent, engine {engine}"
    limits = [
        f"{lab.memory / GIB:.4g} GiB" if lab.memory else "",
        f"{lab.cpus:g} CPUs" if lab.cpus else "",
        f"{lab.pids} processes" if lab.pids else "",
    ]
    reset = (
        f"{lab.reset.hour:02}:{lab.reset.minute:02}{' with pull' if lab.reset.pull else ''}" if lab.reset else "never"
    )
    parts = [
        lab.state,
        str(lab.url),
        f"image {lab.image}" if lab.image else f"built from {lab.build['context']}",
        f"engine {engine}",
        f"port {lab.port or 'not known yet'}",
        f"reset {reset}",
        f"limits {', '.join(filter(None, limits)) or 'none'}",
    ]
    return f"{lab.name}: " + "; ".join(parts)
