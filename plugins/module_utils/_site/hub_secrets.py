# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A hub's secrets: which are given, which are generated once and kept, and which file has which."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._changes.file import json_text
from ansible_collections.carrel.jupyter.plugins.module_utils._shared.told import Told
from ansible_collections.carrel.jupyter.plugins.module_utils._site.compose import dotenv

HIDDEN = "********"
GENERATED = ("cookie_secret", "proxy_token", "metrics_token", "reset_token", "database_password")
SERVICE = "services/"  # followed by a service's name: its token
DATABASE_PASSWORD = "database-password"  # noqa: S105 - the name of a file
AUTHENTICATOR = "authenticator/"  # followed by a trait's name: its value
_TOKEN = re.compile(r"[0-9a-f]{64}")  # the hub reads the cookie secret as hexadecimal digits


class DamagedError(Told):
    """A file of secrets cannot be read. New secrets would lock out people or the hub."""


def parse(path: str, content: bytes | None) -> dict[str, Any]:
    """Parse an existing file. Empty if there is none."""
    if content is None:
        return {}
    try:
        found = json.loads(content)
        if not isinstance(found, dict):
            raise ValueError("it holds no object")
    except ValueError as error:
        raise DamagedError(
            f"{path} is damaged: {error}. Restore it from a backup. If there is none, remove it, but keep the file "
            "database-password, and run again: new secrets are generated, and everybody has to log in again"
        ) from error
    return found


def with_database_password(present: Mapping[str, Any], path: str, content: bytes | None) -> dict[str, Any]:
    """Take a missing database's password from the file at PATH: PostgreSQL reads a new one only for a new database."""
    if content is None or _usable(present.get("database_password")):
        return dict(present)
    password = content.decode("ascii", "replace").strip()
    if not _usable(password):
        raise DamagedError(
            f"{path} holds no password, and hub/secrets.json has none either. Restore one of them from a backup; "
            "PostgreSQL still uses the old one"
        )
    return {**present, "database_password": password}


def _usable(secret: Any) -> bool:
    return isinstance(secret, str) and _TOKEN.fullmatch(secret) is not None


def complete(
    present: Mapping[str, Any],
    given: Mapping[str, str | None],
    database: bool,
    generate: Callable[[], str],
    services: Iterable[str] = (),
) -> dict[str, str | None]:
    """Return the content of secrets.json. A database's password is kept, because it is also in the database's files."""
    found: dict[str, str | None] = dict(given)
    for name in (*GENERATED, *(f"{SERVICE}{service}" for service in services)):
        if _usable(present.get(name)):
            found[name] = present[name]
        else:
            found[name] = generate() if name != "database_password" or database else None
    return found


def texts(
    present: Mapping[str, Any], secrets: Mapping[str, str | None], passwords: Mapping[str, str]
) -> dict[str, str | None]:
    """Return each file's text by its name below the instance's directory. None if the file is not wanted."""
    services = sorted(name for name in {*present, *secrets} if name.startswith(SERVICE))
    tokens = {f"service-{name.removeprefix(SERVICE)}-token": secrets.get(name) for name in services}
    return {
        **{name: None if token is None else f"{token}\n" for name, token in tokens.items()},
        "hub/secrets.json": json_text(secrets),
        "hub/passwords.json": json_text(passwords),
        "proxy.env": dotenv({"CONFIGPROXY_AUTH_TOKEN": secrets["proxy_token"] or ""}),
        "metrics-token": f"{secrets['metrics_token']}\n",
        DATABASE_PASSWORD: secrets["database_password"],
    }


def masked(before: str | None, after: str | None) -> tuple[str, str]:
    """Return both texts for a diff that shows what changes, but no secrets."""
    if not all(text is None or text.startswith("{") for text in (before, after)):
        return _hidden(before, before), _hidden(after, before)
    old, new = (json.loads(text) if text else {} for text in (before, after))
    shown = [
        json_text({name: value and _hidden(value, old.get(name)) for name, value in content.items()}) if content else ""
        for content in (old, new)
    ]
    return shown[0], shown[1]


def _hidden(value: str | None, old: str | None) -> str:
    if value is None:
        return ""
    return HIDDEN if value == old else f"{HIDDEN} (new)"
