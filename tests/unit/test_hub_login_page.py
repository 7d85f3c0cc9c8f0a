# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A hub's own page for logging in is shown, before it is installed, as the hub would show it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ansible_collections.carrel.jupyter.plugins.module_utils._shared.login_page import LoginPageError
from carrel_hub.login_page import check, render
from jupyterhub._data import DATA_FILES_PATH
from nativeauthenticator.handlers import TEMPLATE_DIR

EXTENDED = '{% extends "templates/login.html" %}{% block login %}<p>Hello</p>{{ super() }}{% endblock %}'
OWN = {
    "native": Path(TEMPLATE_DIR) / "native-login.html",
    "dummy": Path(DATA_FILES_PATH) / "templates" / "login.html",
    "github": Path(DATA_FILES_PATH) / "templates" / "login.html",
    "ldap": Path(DATA_FILES_PATH) / "templates" / "login.html",
    "several": Path(DATA_FILES_PATH) / "templates" / "login.html",
}


@pytest.mark.parametrize("kind", OWN)
def test_upstream_s_own_page_and_one_that_extends_it_pass(kind: str) -> None:
    check(OWN[kind].read_text(), kind)
    check(EXTENDED, kind)


@pytest.mark.parametrize("kind", OWN)
@pytest.mark.parametrize(
    ("page", "message"),
    [
        ("", "empty"),
        ("<p>Welcome</p>", "has no"),
        ("\n{% block login %}", "line 2"),
        ('{% extends "logn.html" %}', "logn.html"),
        ("{{ nothing.at.all }}", "nothing"),
        ("{{ 1 / 0 }}", "ZeroDivisionError"),
        ('{% extends "templates/login.html" %}{% block login_container %}{% endblock %}', "has no"),
    ],
)
def test_a_page_on_which_nobody_could_log_in_is_refused(kind: str, page: str, message: str) -> None:
    with pytest.raises(LoginPageError, match=message):
        check(page, kind)


@pytest.mark.parametrize(("kind", "name"), [("native", "native-login.html"), ("oidc", "login.html")])
def test_a_page_that_extends_itself_gets_advice(kind: str, name: str) -> None:
    with pytest.raises(LoginPageError, match=re.escape("templates/login.html")):
        check(f'{{% extends "{name}" %}}', kind)


def test_a_form_without_its_token_gets_advice() -> None:
    page = OWN["native"].read_text()
    with pytest.raises(LoginPageError, match=re.escape('name="_xsrf" value="{{ xsrf }}"')):
        check(page.replace('name="_xsrf"', ""), "native")
    with pytest.raises(LoginPageError, match="authenticator_login_url"):
        check(page.replace("{{login_url}}", "/elsewhere"), "native")


def test_a_page_for_several_shows_the_choice_and_the_form() -> None:
    page = OWN["several"].read_text()
    with pytest.raises(LoginPageError, match="custom_html"):
        check(page.replace("{{ custom_html | safe }}", ""), "several")
    with pytest.raises(LoginPageError, match="_xsrf"):
        check(page.replace('name="_xsrf"', ""), "several")


@pytest.mark.parametrize("kind", ["native", "dummy"])
def test_the_icons_on_the_page_are_in_a_style_sheet_of_the_page(kind: str) -> None:
    page = render('{% extends "templates/login.html" %}', kind)
    sheets = re.findall(r'<link rel="stylesheet" href="/static/([^"?]+)', page)
    styles = "".join((Path(DATA_FILES_PATH) / "static" / sheet).read_text() for sheet in sheets)
    icons = set(re.findall(r'class="fa (fa-[a-z-]+)"', page))
    assert "fa-eye" in icons
    assert {icon for icon in icons if f".{icon}" not in styles} == set()
