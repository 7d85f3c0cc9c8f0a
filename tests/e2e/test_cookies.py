# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Instances of one host name, whose cookies browsers send to each other's paths."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from urllib.parse import urlencode, urlsplit

import pytest
import requests

from testbed.client import Lab

from .conftest import Site, enter, sites
from .front import Front, front


@pytest.fixture(scope="module")
def site_front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    with front(sites()["tao"].host, tmp_path_factory.mktemp("front")) as made:
        yield made


@pytest.mark.parametrize(
    ("path", "sent", "comes"),
    [
        ("/lower/x", "carrel-upper.login=1; carrel-lower.login=2; other=3", "login=2"),
        ("/x", "carrel-upper.login=1; carrel-lower.login=2; other=3", "login=1"),
        ("/lower/x", "carrel-upper.login=1", ""),
        ("/%6cower/x", "carrel-upper.login=1", ""),
        ("/lower/../x", "carrel-upper.login=1; carrel-lower.login=2", "login=1"),
        ("/lower/x", "carrel-lower.a=1;carrel-lower.b=2", "a=1; b=2"),
        ("/lower/x", "_xsrf=long; carrel-lower.a=1; _xsrf=short; _xsrf=shorter", "_xsrf=long; a=1"),
        ("/lower/x", "xcarrel-lower.a=1; carrel-lowerXb=2; carrel-lower.=3", "=3"),
        ("/lower/x", ";;; ;", ""),
        ("/lower/x", "", ""),
    ],
)
def test_an_instance_gets_its_own_cookies(site_front: Front, path: str, sent: str, comes: str) -> None:
    assert site_front.get(path, Cookie=sent).asked["Cookie"].rstrip("; ") == comes


def test_cookies_are_given_out_under_the_instances_name(site_front: Front) -> None:
    cookies = {
        "login=1;Path=/;HttpOnly": "carrel-lower.login=1;Path=/;HttpOnly",
        "a=2;Domain=test;Path=/": "carrel-lower.a=2;Path=/",
        "_xsrf=3;Path=/": "_xsrf=3;Path=/lower/",
        "_xsrf=4;Path=/lower/x": "_xsrf=4;Path=/lower/x",
    }
    given = site_front.get("/lower/?" + urlencode([("cookie", cookie) for cookie in cookies])).all("Set-Cookie")
    assert given == list(cookies.values())
    refused = site_front.get("/lower/?status=403&cookie=login=1").all("Set-Cookie")
    assert refused == ["carrel-lower.login=1"]


def test_endless_cookies_are_refused(site_front: Front) -> None:
    many = "; ".join(f"carrel-lower.c{number}=" for number in range(300))
    assert site_front.get("/lower/", Cookie=many).status == 200
    assert site_front.get("/lower/", Cookie=f"{many}; x").status == 400


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
            page = http.get(f"{lab.url}login", timeout=30)
            token = script_sees(http, urlsplit(lab.url).path)
            form = {"password": labs[name].secret, "_xsrf": token}
            answer = http.post(f"{lab.url}login", data=form, timeout=30, allow_redirects=False)
            assert answer.status_code == 302, page.text
        for name in order:
            url = labs[name].url
            token = script_sees(http, urlsplit(url).path)
            headers = {"X-XSRFToken": token}
            made = http.post(f"{url}api/contents", json={"type": "file"}, headers=headers, timeout=30)
            assert made.status_code == 201, made.text
            http.delete(f"{url}api/contents/{made.json()['path']}", headers=headers, timeout=30).raise_for_status()


def test_a_login_is_good_for_one_instance(tao: Site, atlas: Site) -> None:
    with tao.lab().login(tao.secret) as lab:
        lab.http.headers["X-XSRFToken"] = lab.http.cookies["_xsrf"]
        assert {cookie.name.partition(".")[0] for cookie in lab.http.cookies} == {"_xsrf", "carrel-tao"}
        assert lab.http.get(f"{atlas.url}api/status", timeout=30).status_code == 403
        # the server behind does not know its cookie by another name
        for cookie in list(lab.http.cookies):
            if cookie.name != "_xsrf":
                lab.http.cookies.set(cookie.name.replace("carrel-tao.", ""), cookie.value)
                lab.http.cookies.clear(cookie.domain, cookie.path, cookie.name)
        assert lab.http.get(f"{tao.url}api/status", timeout=30).status_code == 403


def test_a_hubs_users_log_in_with_a_labs_cookie_above(hub: Site) -> None:
    """A lab at / gives a _xsrf that comes to the hub too."""
    with enter(hub, "ada") as ada:
        ada.http.cookies.set("_xsrf", "2|12345678|0123456789abcdef0123456789abcdef|1700000000", path="/")
        ada.logout()
        ada.login("ada", str(next(user["password"] for user in hub.declared["users"] if user["name"] == "ada")))
