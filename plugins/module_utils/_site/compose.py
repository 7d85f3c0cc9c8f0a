# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the compose projects of labs and hubs have in common."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._plan.version import VERSION

# What Jupyter's docker-stacks accept as yes, for example in GRANT_SUDO.
_YES = ("1", "yes", "true")


def guards(instance: Mapping[str, Any], root: bool) -> dict[str, Any]:
    """Return compose's keys that take from people's containers what they do not need.

    ROOT says whether a container starts as root, to change to another user or to let people install packages. Then it
    keeps Docker's capabilities except raw sockets, with which it could pretend to be another container in its network.
    Only programs such as sudo need new privileges.
    """
    sudo = instance["sudo"]
    if sudo is None:
        sudo = root and instance["environment"].get("GRANT_SUDO", "").lower() in _YES
    guarded: dict[str, Any] = {"cap_drop": ["NET_RAW"] if root or sudo else ["ALL"]}
    if not sudo:
        guarded["security_opt"] = ["no-new-privileges:true"]
    return guarded


def container_owner(instance: Mapping[str, Any], image: Mapping[str, Any]) -> tuple[int, int]:
    """Return the uid and gid in the container that own the data: the declared ones, or those of the image."""
    if instance["owner"] is None:
        return image["uid"], image["gid"]
    uid, _unused, gid = instance["owner"].partition(":")
    return int(uid), int(gid)


def devices(names: Sequence[str]) -> dict[str, Any]:
    """Return a service's keys for devices by CDI names. Docker requires a capability, and ignores it."""
    if not names:
        return {}
    request = {"driver": "cdi", "device_ids": list(names), "capabilities": ["gpu"]}
    return {"deploy": {"resources": {"reservations": {"devices": [request]}}}}


def bind(source: str, target: str, read_only: bool) -> dict[str, Any]:
    """Return a bind mount that fails on a missing source instead of making it with the wrong owner."""
    return {
        "type": "bind",
        "source": source,
        "target": target,
        "read_only": read_only,
        "bind": {"create_host_path": False},
    }


def healthcheck(test: list[str], start_seconds: int) -> dict[str, Any]:
    """Return a health check that asks every second until the service has started."""
    return {
        "test": test,
        "interval": "30s",
        "timeout": "10s",
        "retries": 3,
        "start_period": f"{start_seconds}s",
        "start_interval": "1s",
    }


def escaped(value: Any) -> Any:
    """Return the project with each `$` doubled, because compose would interpolate it."""
    if isinstance(value, str):
        return value.replace("$", "$$")
    if isinstance(value, list):
        return [escaped(item) for item in value]
    if isinstance(value, dict):
        return {key: escaped(item) for key, item in value.items()}
    return value


def dotenv(variables: Mapping[str, str]) -> str:
    """Return an env_file for compose. Quotes protect `$`, spaces and line breaks.

    >>> dotenv({"A": "it's $5"})
    "A='it\\\\'s $5'\\n"
    """
    return "".join(f"{name}={_quoted(value)}\n" for name, value in sorted(variables.items()))


def _quoted(value: str) -> str:
    """Quote a value. Between single quotes, a backslash escapes a quote after it (compose-go, dotenv/parser.go)."""
    if "\\" not in value:
        return "'" + value.replace("'", "\\'") + "'"
    return '"' + re.sub(r'([\\"$])', r"\\\1", value) + '"'


def record(kind: str, instance: Mapping[str, Any], **further: Any) -> str:
    """Return /var/lib/carrel/NAME/instance.json: what the next run must know about an instance."""
    kept = {key: instance[key] for key in ("name", "engine", "directory", "port", "state", "url", "own")}
    # of an old copy after a move, or of an instance that was moved here
    moved = next((key for key in ("moved_to", "moved_from") if instance.get(key)), None)
    if moved:
        kept[moved] = instance[moved]
    return json.dumps({"kind": kind, "collection": VERSION, **kept, **further}, indent=2, sort_keys=True) + "\n"
