# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Logging in and signing up with passwords, at a hub on the outer engine."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import hub_image
import pytest
import requests
from hub_site import HubSite, person
from module_runner import open_to_all

from testbed.client import Lab, LoginError
from testbed.hub_client import Hub
from testbed.patience import PATIENCE, until
from testbed.run import run


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubSite]:
    folder = open_to_all(tmp_path_factory.mktemp("log-ins"))
    images = hub_image.build(), os.environ["CARREL_TEST_LAB_IMAGE"]
    site = HubSite(
        folder, f"carrel-logins-{os.getpid()}", images, base_url="/class/",
        authenticator={"type": "native", "signup": True},
    )  # fmt: skip
    site.people = {"ada": person("ada"), "grace.hopper": person("grace.hopper"), "prof": person("prof", admin=True)}
    site.passwords = {name: f"first-{name}" for name in site.people}
    try:
        site.up()
        yield site
    finally:
        site.down()


def test_a_changed_password_stays_until_the_inventory_has_a_new_one(site: HubSite) -> None:
    def login(password: str) -> None:
        with site.session() as session:
            session.login("grace.hopper", password)

    with site.session().login("grace.hopper", "first-grace.hopper") as session:
        assert "wrong" in session.change_password("a guess", "my own one")
        assert "changed" in session.change_password("first-grace.hopper", "my own one")
    login("my own one")
    with pytest.raises(LoginError, match="Invalid username or password"):
        login("first-grace.hopper")
    login("my own one")
    site.passwords["grace.hopper"] = "second-grace"
    site.write()
    login("second-grace")
    with pytest.raises(LoginError):
        login("my own one")
    with pytest.raises(LoginError):
        login("x" * 100)


def test_a_new_password_ends_sessions_and_tokens_but_not_the_server(site: HubSite) -> None:
    """Sessions of the old password end; the server's own token and the browser that changed it stay."""

    def asks(token: str) -> int:
        headers = {"Authorization": f"token {token}"}
        return requests.get(f"{site.url}hub/api/user", headers=headers, timeout=PATIENCE).status_code

    def enters(lab: Lab) -> bool:
        return lab.request("GET", "api/status", check=False, allow_redirects=False).status_code == 200

    def logged_in(session: Hub) -> bool:
        return session.request("GET", "api/user", check=False).status_code == 200

    with site.session().login("ada", "first-ada") as ada, site.session().login("ada", "first-ada") as thief:
        mine, thiefs = ada.spawn(), thief.lab()
        named = {"note": "Server at /class/user/ada/"}
        made = thief.request("POST", "api/users/ada/tokens", json=named).json()["token"]
        own = run("docker", "exec", site.container("ada"), "printenv", "JUPYTERHUB_API_TOKEN").strip()
        assert (asks(made), asks(own), enters(mine), enters(thiefs)) == (200, 200, True, True)
        assert "changed" in ada.change_password("first-ada", "my own one")
        assert (asks(made), asks(own), logged_in(thief), logged_in(ada)) == (403, 200, False, True)
        until(lambda: not enters(thiefs), "the thief is out")
        assert enters(mine)
        assert "changed" in ada.change_password("my own one", "another one"), "the form's token is the new session's"
        site.passwords["ada"] = "second-ada"
        site.write()
        until(lambda: not logged_in(ada), "her session ends")
        until(lambda: not enters(mine), "her token ends")
        assert asks(own) == 200
        with site.session().login("ada", "second-ada") as again:
            assert enters(again.lab())
            again.stop()
    site.passwords["ada"] = "first-ada"
    site.write()


def test_a_password_makes_no_token_without_a_log_in(site: HubSite) -> None:
    """Otherwise strangers could guess there, where Apache does not count."""
    address = f"{site.url}hub/api/users/prof/tokens"
    for password in ("first-prof", "a guess"):
        auth = {"username": "prof", "password": password}
        answer = requests.post(address, json={"auth": auth}, timeout=PATIENCE)
        assert (answer.status_code, "token" in answer.json()) == (403, False)
    with site.session().login("prof", "first-prof") as prof:
        token = prof.request("POST", "api/users/prof/tokens", json={}).json()["token"]
    more = requests.post(address, json={}, headers={"Authorization": f"token {token}"}, timeout=PATIENCE)
    assert more.status_code == 201, "programs make tokens with a token"


def test_strangers_wait_for_an_admin_s_approval(site: HubSite) -> None:
    with site.session() as eve, site.session().login("prof", "first-prof") as prof:
        assert eve.sign_up("eve", "my password") == eve.sign_up("ada", "my password") != ""
        with pytest.raises(LoginError, match="waits for an administrator"):
            eve.login("eve", "my password")
        with pytest.raises(LoginError, match="Invalid"):
            eve.login("ada", "my password")
        data = {"name": "eve", "action": "approve"}
        assert prof.http.post(f"{site.url}hub/authorize", data=data, timeout=PATIENCE).status_code == 403, "no token"
        assert eve.request("POST", "authorize", data=data, check=False).status_code == 403
        prof.decide("eve", "approve")
        eve.login("eve", "my password")
        site.people["prof"]["pids"] = 500
        site.write()  # the roster service looks at everybody again
        time.sleep(3)
        assert eve.user()["name"] == "eve"
        prof.decide("eve", "withdraw")
        until(lambda: eve.request("GET", "api/user", check=False).status_code == 403, "eve is out")
        eve.sign_up("spam", "my password")
        assert "1 waits for approval" in prof.request("GET", "authorize").text
        page = prof.decide("", "discard-all")
        assert "spam" not in page and "waits for approval" not in page and "eve" in page
        prof.decide("eve", "discard")
        assert "eve" not in prof.request("GET", "authorize").text and "eve" not in prof.users()


def test_a_listed_name_needs_the_administrators_invitation(site: HubSite) -> None:
    with site.session() as stranger, site.session() as alan, site.session().login("prof", "first-prof") as prof:
        stranger.sign_up("alan", "the stranger's")  # before the name is listed
        site.people["alan"] = person("alan", admin=True)
        site.write()
        invitation = prof.invitations()["alan"]
        page = prof.decide("alan", "approve")
        assert "needs an invitation" in page and "yes, as an admin" in page
        with pytest.raises(LoginError):
            stranger.login("alan", "the stranger's")
        assert "not for this name" in stranger.sign_up("alan", "the stranger's", "abcd-abcd-abcd-abcd")
        assert "ready" in alan.sign_up("alan", "alan's password", invitation)
        assert alan.login("alan", "alan's password").user()["admin"]
        with pytest.raises(LoginError, match="Invalid"):
            stranger.login("alan", "the stranger's")
    del site.people["alan"]
    site.write()


def test_a_class_that_logs_in_at_once_does_not_block_others(site: HubSite) -> None:
    """bench/log_ins.py measures it; here a busy machine is no failure."""
    students = {f"student{number}": f"password {number}" for number in range(12)}
    site.people |= {name: person(name) for name in students}
    site.passwords |= students
    site.write()

    def log_in(name: str) -> bool:
        with site.session() as session:
            return session.login(name, students[name]).username == name

    answers = 0
    with ThreadPoolExecutor(len(students)) as threads:
        asked = [threads.submit(log_in, name) for name in students]
        while not all(each.done() for each in asked):
            assert requests.get(f"{site.url}hub/health", timeout=PATIENCE).status_code == 200
            answers += 1
            time.sleep(0.02)
    assert all(each.result() for each in asked)
    assert answers > len(students), "with passwords in the hub's main thread there are a few"
    for name in students:
        del site.people[name], site.passwords[name]
    site.write()


def test_an_error_at_log_in_is_shown_on_the_page(site: HubSite) -> None:
    with site.session() as stranger, site.session() as ada:
        for _unused in range(10):
            with pytest.raises(LoginError, match="Invalid"):
                stranger.login("prof", "a guess")
        with pytest.raises(LoginError, match="429 Too many wrong passwords"):
            stranger.login("prof", "a guess")
        # What users' containers claim counts for nothing; Apache says who asks.
        ada.http.headers["X-Forwarded-For"] = "192.0.2.7"
        assert ada.login("prof", "first-prof")
        roster = site.folder / "hub" / "roster.json"
        whole = roster.read_bytes()
        roster.write_text("{")
        try:
            with pytest.raises(LoginError, match="The list of users cannot be read"):
                stranger.login("ada", "first-ada")
        finally:
            roster.write_bytes(whole)
