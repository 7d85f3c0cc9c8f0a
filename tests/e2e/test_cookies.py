# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Instances of one host name, whose cookies browsers send to each other's paths."""

from __future__ import annotations

import itertools
from urllib.parse import urlsplit

import pytest
import requests

from testbed.client import Lab
from testbed.patience import PATIENCE

from .conftest import Site, enter


def script_sees(http: requests.Session, path: str) -> str:
    """What a script of a page below the path takes for the XSRF token: the first _xsrf of document.cookie."""
    seen = [cookie for cookie in http.cookies if cookie.name == "_xsrf" and path.startswith(cookie.path)]
    return str(max(seen, key=lambda cookie: len(cookie.path)).value)


@pytest.mark.parametrize("order", list(itertools.permutations(["tao", "atlas"])))
def test_labs_of_one_name_work_in_every_order(tao: Site, atlas: Site, order: tuple[str, ...]) -> None:
    labs = {"tao": tao, "atlas": atlas}
    with requests.Session() as http:
        for name in (*order, *order):
            lab = Lab(labs[name].url, labs[name].ca)
            lab.http = http
            http.verify, http.trust_env = labs[name].ca, False
            page = http.get(f"{lab.url}login", timeout=PATIENCE)
            token = script_sees(http, urlsplit(lab.url).path)
            form = {"password": labs[name].secret, "_xsrf": token}
            answer = http.post(f"{lab.url}login", data=form, timeout=PATIENCE, allow_redirects=False)
            assert answer.status_code == 302, page.text
        for name in order:
            url = labs[name].url
            token = script_sees(http, urlsplit(url).path)
            headers = {"X-XSRFToken": token}
            made = http.post(f"{url}api/contents", json={"type": "file"}, headers=headers, timeout=PATIENCE)
            assert made.status_code == 201, made.text
            http.delete(
                f"{url}api/contents/{made.json()['path']}", headers=headers, timeout=PATIENCE
            ).raise_for_status()


def test_a_login_is_good_for_one_instance(tao: Site, atlas: Site) -> None:
    with tao.lab().login(tao.secret) as lab:
        lab.http.headers["X-XSRFToken"] = lab.http.cookies["_xsrf"]
        assert {cookie.name.partition(".")[0] for cookie in lab.http.cookies} == {"_xsrf", "carrel-tao"}
        assert lab.http.get(f"{atlas.url}api/status", timeout=PATIENCE).status_code == 403
        # the server behind does not know its cookie by another name
        for cookie in list(lab.http.cookies):
            if cookie.name != "_xsrf":
                lab.http.cookies.set(cookie.name.replace("carrel-tao.", ""), cookie.value)
                lab.http.cookies.clear(cookie.domain, cookie.path, cookie.name)
        assert lab.http.get(f"{tao.url}api/status", timeout=PATIENCE).status_code == 403


def test_a_hubs_users_log_in_with_a_labs_cookie_above(hub: Site) -> None:
    """A lab at / gives a _xsrf that comes to the hub too."""
    with enter(hub, "ada") as ada:
        ada.http.cookies.set("_xsrf", "2|12345678|0123456789abcdef0123456789abcdef|1700000000", path="/")
        ada.logout()
        ada.login("ada", str(next(user["password"] for user in hub.declared["users"] if user["name"] == "ada")))
