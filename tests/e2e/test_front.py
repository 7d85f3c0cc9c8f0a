# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Apache changes, refuses and answers by itself, seen with a server behind it that says what it was asked."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlencode

import pytest

from testbed.patience import SOON, until

from .conftest import sites
from .front import Front, front

TRIES, SECONDS = 5, SOON


@pytest.fixture(scope="module")
def site_front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    with front(
        sites()["tao"].host, tmp_path_factory.mktemp("front"), apache_login_tries=TRIES, apache_login_seconds=SECONDS
    ) as made:
        yield made


@pytest.mark.parametrize(
    ("path", "sent", "comes"),
    [
        ("/lower/x", "carrel-upper.login=1; carrel-lower.login=2; other=3", "login=2"),
        ("/x", "carrel-upper.login=1; carrel-lower.login=2; other=3", "login=1"),
        ("/lower/x", "carrel-upper.login=1", ""),
        ("/%6cower/x", "carrel-upper.login=1", ""),
        ("/lower/../x", "carrel-upper.login=1; carrel-lower.login=2", "login=1"),
        ("/lower/x", "carrel-lower.a=1;carrel-lower.b=2; carrel-lower.c=3", "a=1;b=2; c=3"),
        ("/lower/x", "_xsrf=long; carrel-lower.a=1; _xsrf=short; _xsrf=shorter", "_xsrf=long; a=1"),
        ("/lower/x", "xcarrel-lower.a=1; carrel-lowerXb=2; carrel-lower.=3; carrel-lower.; carrel-lower.d", ""),
        ("/lower/x", "__Host-carrel-lower.a=1; __Host-carrel-upper.b=2; __Host-c=3", "__Host-a=1"),
        ("/lower/x", "__Secure-carrel-lower.a=1; carrel-lower.__Secure-b=2", "__Secure-a=1"),
        ("/lower/x", "carrel-lower.__Host-a=1; carrel-lower. __Host-a=2; carrel-lower.__host-a=3", ""),
        # what mod_headers makes of a header is not looked at once more
        ("/lower/x", "carrel-lower.carrel-lower.__Host-a=1", "carrel-lower.__Host-a=1"),
        ("/lower/x", "b=2; carrel-lower.carrel-lower.carrel-lower.__Host-a=1", "carrel-lower.carrel-lower.__Host-a=1"),
        ("/lower/x", "carrel-lower.carrel-lower. __Host-a=1", ""),
        ("/lower/x", 'carrel-lower.carrel-lower.\t__Host-a=1; carrel-lower."=2; carrel-lower._xsrf=3', ""),
        ("/lower/x", "; ;_xsrf=1$0__Host-a=2", "_xsrf=1"),
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
        "a=3; domain=test; Path=/; Domain =other": "carrel-lower.a=3; Path=/",
        "_xsrf=3;Path=/": "_xsrf=3;Path=/lower/",
        "_xsrf=4;Path=/lower/x": "_xsrf=4;Path=/lower/x",
        "_xsrf=5; path =/upper/; PATH\t= /upper/": "_xsrf=5; path =/upper/; PATH\t=/lower/",
        # browsers send a cookie without a name as its value alone
        "=carrel-upper.login=6; Path=/": "carrel-lower.=carrel-upper.login=6; Path=/",
        "__Secure-a=6; Secure": "__Secure-carrel-lower.a=6; Secure",
        "__Host-__Host-a=6; Secure": "__Host-carrel-lower.__Host-a=6; Secure",
        # what browsers take from this name alone
        "__Host-a=8; Path=/; Secure": "__Host-carrel-lower.a=8; Path=/; Secure",
        "_xsrf =7": "carrel-lower._xsrf =7",
        "carrel-upper.login": "carrel-lower.carrel-upper.login",
    }
    given = site_front.get("/lower/?" + urlencode([("cookie", cookie) for cookie in cookies])).all("Set-Cookie")
    assert given == list(cookies.values())
    refused = site_front.get("/lower/?status=403&cookie=login=1").all("Set-Cookie")
    assert refused == ["carrel-lower.login=1"]


def test_no_header_acts_on_more_than_its_instance(site_front: Front) -> None:
    headers = {
        "Clear-Site-Data": '"cookies"',
        "Strict-Transport-Security": "max-age=9; includeSubDomains",
        "X-Other": "1",
    }
    given = site_front.get("/lower/?" + urlencode([("header", f"{name}: {value}") for name, value in headers.items()]))
    assert [name for name in headers if given.all(name)] == ["X-Other"]


@pytest.mark.parametrize(("path", "instance"), [("/x", "upper"), ("/lower/x", "lower")])
def test_a_websocket_has_its_instances_cookies_alone(site_front: Front, path: str, instance: str) -> None:
    """What the answer to an upgrade sets stays as it is. It bears no instance's name, so that no instance gets it."""
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket"}
    sent = "carrel-upper.login=1; carrel-lower.login=2; other=3; _xsrf=4"
    answer = site_front.get(f"{path}?cookie=login=5", Cookie=sent, **upgrade)
    assert answer.status == 101
    assert answer.asked["Cookie"] == f"_xsrf=4; login={'1' if instance == 'upper' else '2'}"
    assert answer.all("Set-Cookie") == ["login=5"]
    for other in ("/x", "/lower/x"):
        assert site_front.get(other, Cookie="login=5").asked["Cookie"].strip() == ""


def test_endless_cookies_are_refused(site_front: Front) -> None:
    many = "; ".join(f"carrel-lower.c{number}=" for number in range(300))
    assert site_front.get("/lower/", Cookie=many).status == 200
    assert site_front.get("/lower/", Cookie=f"{many}; x").status == 400


def test_the_cookies_of_many_tabs_pass(site_front: Front) -> None:
    cookie = "carrel-lower.a=" + 60000 * "x"
    assert len(site_front.get("/lower/", Cookie=cookie).asked["Cookie"]) == 60002
    assert site_front.get("/lower/", Cookie=cookie + 2000 * "x").status == 400


def test_wrong_logins_of_an_address_are_slowed_down(site_front: Front) -> None:
    """Work continues, and log-ins work again once the time is over."""
    wrong = {"method": "POST", "path": "/lower/login?status=401"}
    encoded = {"method": "POST", "path": "/%6cower/%6cogin?status=401"}
    right = {"method": "POST", "path": "/login?status=302"}
    work = {"path": "/lower/api/status?status=403"}
    asked = [*[work] * TRIES, right, *[wrong, encoded] * TRIES, right, {"path": "/lower/api/status"}]
    *answers, refused, busy = site_front.ask(*asked)
    statuses = [answer.status for answer in answers]
    assert statuses[: TRIES + 1] == [403] * TRIES + [302]
    assert statuses.count(401) <= TRIES + 1 and statuses[-2:] == [429, 429]
    assert (refused.status, refused.all("Retry-After")) == (429, [str(SECONDS)])
    assert "Too many wrong log-ins" in refused.text
    assert busy.status == 200
    until(lambda: site_front.get("/login?status=302", "POST").status == 302, "log-ins work again")


def test_no_page_uses_up_the_log_ins_of_those_who_look_at_it(site_front: Front) -> None:
    """A page of somebody else can send forms, and have images fetched. Tools cannot hide tries like this either."""
    wrong = {"method": "POST", "path": "/lower/login?status=401"}
    forms = [{**wrong, "headers": {"Sec-Fetch-Site": where}} for where in ("cross-site", "Same-Site")]
    images = [{"path": "/lower/hub/api/login?status=403"}, {"path": "/lower/login?status=401"}]
    answers = site_front.ask(*(forms + images) * (2 * TRIES))
    assert {answer.status for answer in answers[::4]} | {answer.status for answer in answers[1::4]} == {400}
    assert [answer.status for answer in answers[2:4]] == [403, 401]
    own = {"method": "POST", "path": "/lower/login?status=302"}
    asked = [{**own, "headers": {"Sec-Fetch-Site": where}} for where in ("same-origin", "none")]
    assert [answer.status for answer in site_front.ask(own, *asked)] == [302] * 3


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_a_starting_server_gets_a_page_that_says_so(site_front: Front, method: str) -> None:
    answer = site_front.get("/lower/lab?close", method)
    assert (answer.status, answer.all("Retry-After"), answer.all("Cache-Control")) == (503, ["5"], ["no-store"])
    assert "This site is starting" in answer.text and "http-equiv='refresh'" in answer.text


def test_errors_of_the_server_itself_are_passed_on(site_front: Front) -> None:
    for status in (404, 502, 503):
        answer = site_front.get(f"/lower/lab?status={status}")
        assert (answer.status, answer.asked["path"]) == (status, f"/lower/lab?status={status}")
    assert site_front.get("/carrel-starting").status == 200  # the instance's own
