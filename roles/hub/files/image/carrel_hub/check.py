# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Report errors in the administrator's own part of a hub. Reads config.json from stdin and needs no secrets."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from jupyterhub import scopes
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


def problems(given: Mapping[str, Any]) -> Iterator[Problem]:
    try:
        whole = configure(given, secrets(given), STATE, Config())
    except Unusable as error:
        yield Problem("the inventory", str(error))
        return
    yield from whole.problems
    yield from unknown(whole)
    yield from _scopes(given)
    if not whole.problems:
        yield from _made(given, whole.config)


def _scopes(given: Mapping[str, Any]) -> Iterator[Problem]:
    for service in given["services"]:
        for scope in service["scopes"]:
            name = scope.partition("!")[0]
            if name not in scopes.scope_definitions:
                near = hint(name, scopes.scope_definitions)
                yield Problem(f"services ({service['name']})", f"JupyterHub has no scope {name}{near}")


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
