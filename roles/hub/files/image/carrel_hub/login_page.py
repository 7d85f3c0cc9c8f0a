# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check that people can log in with the administrator's page, which is read from stdin."""

from __future__ import annotations

import html
import re
import sys
from pathlib import Path
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._shared.login_page import (
    LoginPageError,
    check_rendered,
    check_source,
)
from jinja2 import ChoiceLoader, DictLoader, Environment, FileSystemLoader, PrefixLoader, TemplateSyntaxError
from jupyterhub._data import DATA_FILES_PATH

WITH_PASSWORD = ("native", "ldap", "dummy")
LOGIN = "/carrel-base/login"
_LINK = re.compile(r"""<a\b[^>]*?\bhref\s*=\s*["']([^"']*)""", re.IGNORECASE)
LINK = f"{LOGIN}?next=%2Fcarrel-next"
HINT = {
    "several": "the login page has no list of the authenticators: write {{ custom_html | safe }}",
    "": 'the login page has no link to log in: write <a href="{{ authenticator_login_url }}">',
}


def render(page: str, kind: str) -> str:
    """Render the page as JupyterHub does (jupyterhub.app.JupyterHub.init_tornado_settings)."""
    name = "native-login.html" if kind == "native" else "login.html"
    upstream = str(Path(DATA_FILES_PATH) / "templates")
    loader = ChoiceLoader(
        [
            DictLoader({name: page}),
            PrefixLoader({"templates": FileSystemLoader(upstream)}, "/"),
            FileSystemLoader([str(Path(__file__).parent / "templates"), upstream]),
        ]
    )
    values: dict[str, Any] = {
        "base_url": "/carrel-base/", "prefix": "/", "user": None, "services": [], "static_url": "/static/{}".format,
        "login_url": LOGIN, "authenticator_login_url": LINK, "next": "%2Fcarrel-next", "username": "",
        "authenticator": {}, "login_service": None if kind in WITH_PASSWORD else "the service", "xsrf": "carrel-xsrf",
        "carrel_native": kind == "native", "custom_html": f'<a href="{LINK}">Log in</a>' if kind == "several" else "",
    }  # fmt: skip
    return Environment(loader=loader, autoescape=True).get_template(name).render(values)


def check(page: str, kind: str) -> None:
    """Check a page. Raises LoginPageError."""
    check_source(page)
    _check_shown(page, kind)
    if kind == "several":  # also as the page of an authenticator that asks for a password
        _check_shown(page, "ldap")


def _check_shown(page: str, kind: str) -> None:
    try:
        rendered = render(page, kind)
    except RecursionError as error:
        raise LoginPageError('the login page extends itself: write {% extends "templates/login.html" %}') from error
    except TemplateSyntaxError as error:
        raise LoginPageError(f"line {error.lineno} of {error.name or 'the login page'}: {error.message}") from error
    except Exception as error:  # an expression in the page may raise anything
        raise LoginPageError(f"the login page cannot be shown: {error!r}") from error
    if kind in WITH_PASSWORD:
        check_rendered(
            rendered,
            with_notice=False,
            xsrf='<input type="hidden" name="_xsrf" value="{{ xsrf }}">',
            action="{{ authenticator_login_url }}",
        )
    elif LINK not in map(html.unescape, _LINK.findall(rendered)):
        raise LoginPageError(HINT.get(kind, HINT[""]))


if __name__ == "__main__":
    try:
        check(sys.stdin.read(), sys.argv[1])
    except LoginPageError as failed:
        sys.exit(str(failed))
