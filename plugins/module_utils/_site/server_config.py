# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build jupyter_server_config.json for jupyter_server 1.24 to 2.x: one file with the traits of both.

2.x reads IdentityProvider and PasswordIdentityProvider. 1.x reads ServerApp. 2.x still accepts these traits, and logs
that they are deprecated (ServerApp._warn_deprecated_config).
"""

from __future__ import annotations

import copy
import hashlib
import json
import re
from typing import Any

HIDDEN = "********"
# Not a class of the server. The value changes when a new token is generated, but not when a reset rotates it.
GENERATION = ("Carrel", "generation")
GENERATED = re.compile(r"[0-9A-Za-z._~-]{16,}")

_OPTION_OF_TRAIT = {
    ("ServerApp", "password"): "password",
    ("ServerApp", "token"): "token",
    ("ServerApp", "allow_password_change"): None,
    ("IdentityProvider", "token"): "token",
    ("PasswordIdentityProvider", "hashed_password"): "password",
    ("PasswordIdentityProvider", "token"): "token",
    ("PasswordIdentityProvider", "allow_password_change"): None,
}
_SECRETS = [trait for trait, option in _OPTION_OF_TRAIT.items() if option]
_TOKENS = [("ServerApp", "token"), ("IdentityProvider", "token")]


def problems(settings: dict[str, Any], password: str | None, token: str | None) -> list[str]:
    """Return everything that is wrong with the input."""
    found = []
    for section, traits in settings.items():
        if not isinstance(traits, dict):
            found.append(f"settings.{section} must be a dictionary of traits, as in ServerApp: {{ip: 0.0.0.0}}")
            continue
        for trait in traits:
            if (section, trait) in _OPTION_OF_TRAIT:
                option = _OPTION_OF_TRAIT[section, trait]
                advice = f"use the option {option}" if option else "it is always false, since the file is read-only"
                found.append(f"settings.{section}.{trait} must not be set: {advice}")
    for option, value in (("password", password), ("token", token)):
        if value is not None:
            found += [f"{option} {complaint}" for complaint in _unusable(value)]
    return found


def _unusable(secret: str) -> list[str]:
    """Find what the log-in form loses: tornado's get_argument strips spaces and replaces control characters."""
    if not secret:
        return ["is empty: anybody could log in; leave it out to have a token generated"]
    if secret != secret.strip():
        return ["begins or ends with a space, which the login form removes: nobody could log in"]
    if re.search(r"[\x00-\x1f\x7f]", secret):
        return ["has a control character, which the login form replaces: nobody could log in"]
    return []


def build(settings: dict[str, Any], hashed_password: str, token: str, generation: str = "") -> dict[str, Any]:
    """Return the configuration. An empty password or token turns off this way to log in.

    GENERATION is for generated tokens. A reset may rotate the token without a new generation.
    """
    config = copy.deepcopy(settings)
    server = {"password": hashed_password, "token": token, "allow_password_change": False}
    config.setdefault("ServerApp", {}).update(server)
    config.setdefault("IdentityProvider", {})["token"] = token
    provider = {"hashed_password": hashed_password, "allow_password_change": False}
    config.setdefault("PasswordIdentityProvider", {}).update(provider)
    if generation:
        section, key = GENERATION
        config[section] = {key: generation}
    return config


def checksum(config: dict[str, Any]) -> str:
    """Return the checksum of what needs a restart of the server. For a generated token, its generation counts."""
    kept = copy.deepcopy(config)
    if secret(config, *GENERATION):
        for section, trait in _TOKENS:
            kept[section][trait] = ""
    return hashlib.sha256(text(kept).encode()).hexdigest()


def same_credentials(before: dict[str, Any], after: dict[str, Any]) -> bool:
    return all(secret(before, *trait) == secret(after, *trait) for trait in _SECRETS)


def text(config: dict[str, Any]) -> str:
    return json.dumps(config, indent=2, sort_keys=True) + "\n"


def parse(content: bytes | None) -> dict[str, Any]:
    """Parse an existing file. A damaged file counts as missing."""
    try:
        config = json.loads(content or b"{}")
    except ValueError:
        return {}
    return config if isinstance(config, dict) else {}


def secret(config: dict[str, Any], section: str, trait: str) -> str:
    traits = config.get(section)
    value = traits.get(trait) if isinstance(traits, dict) else None
    return value if isinstance(value, str) else ""


def masked(before: dict[str, Any], after: dict[str, Any]) -> tuple[str, str]:
    """Return both texts for a diff that names changed secrets without their values."""
    shown = copy.deepcopy(before), copy.deepcopy(after)
    for section, trait in _SECRETS:
        old, new = secret(before, section, trait), secret(after, section, trait)
        for config, value, mask in (
            (shown[0], old, HIDDEN),
            (shown[1], new, HIDDEN if new == old else HIDDEN + " (new)"),
        ):
            if value:
                config[section][trait] = mask
    return text(shown[0]), text(shown[1])
