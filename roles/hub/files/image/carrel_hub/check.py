# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Report errors in the administrator's own part of a hub. Reads config.json from stdin and needs no secrets."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from jupyterhub import orm, roles, scopes
from jupyterhub.app import JupyterHub
from jupyterhub.auth import Authenticator
from traitlets.config import Config

from . import several
from .config import secret_name, single
from .configuration import Problem, authenticators, configure, hint, unknown
from .files import STATE, Unusable

SECRETS = (
    "cookie_secret", "proxy_token", "metrics_token", "reset_token", "database_password", "client_secret",
    "dummy_password",
)  # fmt: skip
WITHOUT_SETTINGS = ("native", "dummy")
STANDS_FOR_A_SECRET = "ab" * 32


def secrets(given: Mapping[str, Any]) -> dict[str, str]:
    """Return placeholders for secrets."""
    names = [
        *SECRETS,
        *(f"services/{service['name']}" for service in given["services"]),
        *(
            secret_name(one, name)
            for one in single(given)
            for name in ["client_secret", *one.get("secret_settings", [])]
        ),
    ]
    return dict.fromkeys(names, STANDS_FOR_A_SECRET)


def problems(given: Mapping[str, Any]) -> list[Problem]:
    try:
        whole = configure(given, secrets(given), STATE, Config())
    except Unusable as error:
        return [Problem("the inventory", str(error))]
    with contextlib.closing(orm.new_session_factory("sqlite://")()) as database:
        found = [*whole.problems, *unknown(whole), *_scopes(given, database)]
        if not whole.problems:
            found += _made(given, whole.config)
        return found or list(_roles(whole.config, database))


def _scopes(given: Mapping[str, Any], database: Any) -> Iterator[Problem]:
    for service in given["services"]:
        for scope in service["scopes"]:
            if scope.startswith("custom:"):
                continue  # extra_config may define it, which only _roles knows
            try:
                roles.create_role(database, {"name": "check", "scopes": [scope]})
            except scopes.ScopeNotFound:
                name = scope.partition("!")[0]
                if name in scopes.scope_definitions:
                    hinted = "; after ! write user=NAME, group=NAME, server=NAME/ or service=NAME"
                else:
                    hinted = hint(name, scopes.scope_definitions)
                yield Problem(f"services ({service['name']})", f"JupyterHub has no scope {scope}{hinted}")


def _roles(config: Config, database: Any) -> Iterator[Problem]:
    """Create all roles as JupyterHub does when it starts, except those that an authenticator manages."""
    try:
        hub = JupyterHub(config=config)
        hub.db, hub.authenticator = database, Authenticator()
        asyncio.run(hub.init_role_creation())
    except Exception as error:  # JupyterHub raises ValueError, KeyError and its own
        yield Problem("roles", str(error).partition("\n")[0])


def _made(given: Mapping[str, Any], config: Config) -> Iterator[Problem]:
    """Make the authenticators, because some check their traits only then."""
    for one in authenticators(given, config):
        if one.given["type"] in WITHOUT_SETTINGS:
            continue
        try:
            (several.made(one.member, config) if one.member else one.cls(config=config)).get_handlers(None)
        except Unusable as error:
            yield Problem("the inventory", str(error))
        except Exception as error:  # TraitError, or anything that a class raises
            yield Problem(f"{one.place}.settings", str(error).partition("\n")[0])


if __name__ == "__main__":
    with contextlib.redirect_stdout(sys.stderr):  # the administrator's files may print something
        found = list(dict.fromkeys(map(str, problems(json.load(sys.stdin)))))
    print(*found, sep="\n")
    sys.exit(1 if found else 0)
