# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of an account's log-ins at registries root may use: plain ones, and no program that the account names."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping

FIELDS = ("auth", "username", "password", "identitytoken", "registrytoken")


def usable(content: bytes) -> tuple[dict[str, dict[str, str]], bool]:
    """The log-ins in a config.json, and whether programs are named there that have others; raises ValueError."""
    try:
        config = json.loads(content)
    except RecursionError as error:
        raise ValueError("it is not docker's JSON") from error
    if not isinstance(config, dict) or not isinstance(config.get("auths") or {}, dict):
        raise ValueError("it is not docker's JSON")
    logins = {}
    for registry, entry in (config.get("auths") or {}).items():
        plain = {key: entry[key] for key in FIELDS if isinstance(entry, dict) and isinstance(entry.get(key), str)}
        if plain:
            logins[registry] = plain
    return logins, bool(config.get("credsStore") or config.get("credHelpers"))


def header(image: str, logins: Mapping[str, Mapping[str, str]]) -> str | None:
    """X-Registry-Auth of the Engine API for an image; None without a log-in at its registry."""
    registry = image.partition("/")[0]
    if "/" not in image or not ("." in registry or ":" in registry or registry == "localhost"):
        registry = "docker.io"
    keys = ("https://index.docker.io/v1/",) if registry in ("docker.io", "index.docker.io") else ()
    entry = next((logins[key] for key in (registry, f"https://{registry}", *keys) if key in logins), None)
    if entry is None:
        return None
    told = {key: value for key, value in entry.items() if key != "auth"}
    if "auth" in entry:
        told["username"], _unused, told["password"] = base64.b64decode(entry["auth"]).decode().partition(":")
    return base64.urlsafe_b64encode(json.dumps({**told, "serveraddress": registry}).encode()).decode()
