# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of an account's log-ins at registries root may use: plain ones, and no program that the account names."""

from __future__ import annotations

import json

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
