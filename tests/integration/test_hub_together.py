# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""People who work in one server: their own that they share with a group, and in one notebook at the same time."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator

import hub_image
import pytest
from domain_site import Site, shown
from hub_site import free_port, person
from module_runner import open_to_all
from playwright.sync_api import Locator, Page, expect

from testbed.browser import browsers
from testbed.client import LoginError
from testbed.hub_client import Hub
from testbed.patience import until

PASSWORDS = {"ada": "lovelace", "grace": "hopper", "alan": "turing"}
SERVER = "group-statistics"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    images = hub_image.build(), os.environ["CARREL_TEST_LAB_IMAGE"]
    port, name = free_port(), f"seminar-{secrets.token_hex(3)}"
    folder = open_to_all(tmp_path_factory.mktemp("seminar"))
    site = Site(folder, name, images, f"https://seminar.test:{port}/", PASSWORDS, domains=True)
    site.hub.people[SERVER] = person("group:statistics", server_of="statistics")
    site.hub.config["group_servers"] = {"statistics": SERVER}
    site.hub.mounts["groups"]["statistics"] = {"members": ["ada", "grace", SERVER], "admins": [], "mounts": []}
    try:
        site.hub.up()
        with shown(open_to_all(tmp_path_factory.mktemp("apache")), port, site):
            yield site
    finally:
        site.hub.down()


@pytest.fixture
def members(site: Site) -> Iterator[list[str]]:
    """The members of the group; change them, then write the hub's files."""
    members = site.hub.mounts["groups"]["statistics"]["members"]
    before = list(members)
    yield members
    members[:] = before
    site.hub.write()


@pytest.fixture
def owner(site: Site) -> Iterator[Hub]:
    """Ada, whose server runs."""
    session = site.session("ada")
    session.spawn()
    yield session
    session.stop()


def is_refused(site: Site, user: str, server: str) -> bool:
    try:
        site.session(user).lab(server)
    except LoginError:
        return True
    return False


def test_a_server_can_be_shared_with_a_group_and_taken_back(site: Site, owner: Hub, members: list[str]) -> None:
    guest = site.session("grace")
    share = {"group": "statistics"}
    assert owner.request("POST", "api/shares/ada/", json=share).json()["group"] == {"name": "statistics"}
    until(lambda: guest.user()["groups"], "grace is in the group")
    lab = guest.lab("ada")
    assert lab.run("print(6 * 7)").strip() == "42"
    assert is_refused(site, "alan", "ada")
    # who joins the group has access, who leaves it has none
    members[:] = ["ada", "alan", SERVER]
    site.hub.write()
    # an open page would keep its connections
    until(lambda: not owner.user()["servers"], "the server stops")
    owner.spawn()
    assert lab.request("GET", "api/status", check=False).status_code == 403
    until(lambda: not is_refused(site, "alan", "ada"), "who has joined has access")
    owner.request("PATCH", "api/shares/ada/", json=share)
    until(lambda: is_refused(site, "alan", "ada"), "the share ends")


def test_two_people_write_in_one_notebook_of_a_shared_server(site: Site, owner: Hub) -> None:
    share = {"user": "grace"}
    owner.request("POST", "api/shares/ada/", json=share)
    try:
        write_together(site, "ada", "grace", "ada")
    finally:
        owner.request("PATCH", "api/shares/ada/", json=share)


def test_members_start_use_and_stop_the_server_of_their_group(site: Site) -> None:
    ada, grace, alan = (site.session(user) for user in PASSWORDS)
    until(lambda: ada.user()["groups"], "ada is in the group")
    lab = ada.spawn(SERVER)
    assert lab.run("print(open('plan.txt', 'w').write('for all'))").strip() == "7"
    assert grace.lab(SERVER).get("plan.txt") == "for all"
    grace.stop(SERVER)
    assert not site.hub.runs(SERVER)
    # who is no member can do nothing with it, whether it runs or not
    for method in ("POST", "DELETE"):
        assert alan.request(method, f"api/users/{SERVER}/server", check=False).status_code == 404
    assert "servers" not in alan.user(SERVER)
    assert alan.request("GET", f"spawn/{SERVER}", check=False).status_code == 404
    assert grace.spawn(SERVER).get("plan.txt") == "for all"
    assert is_refused(site, "alan", SERVER)
    grace.stop(SERVER)


def test_who_has_left_the_group_has_no_access_at_once(site: Site, members: list[str]) -> None:
    grace = site.session("grace")
    until(lambda: grace.user()["groups"], "grace is in the group")
    lab = grace.spawn(SERVER)
    members.remove("grace")
    site.hub.write()
    # an open page would keep its connections
    ada = site.session("ada")
    until(lambda: not ada.user(SERVER)["servers"], "the server stops")
    assert grace.request("POST", f"api/users/{SERVER}/server", check=False).status_code == 404
    ada.spawn(SERVER)
    assert lab.request("GET", "api/status", check=False).status_code == 403
    assert is_refused(site, "grace", SERVER)
    ada.stop(SERVER)


def test_nobody_logs_in_as_the_server(site: Site) -> None:
    """Not even with a password that somebody has written into the hub's files."""
    site.passwords[SERVER] = site.hub.passwords[SERVER] = "open sesame"
    site.hub.write()
    try:
        with pytest.raises(LoginError, match="403"):
            site.session(SERVER)
    finally:
        del site.passwords[SERVER], site.hub.passwords[SERVER]
        site.hub.write()


def test_two_members_write_in_one_notebook_of_the_server_of_their_group(site: Site) -> None:
    address = f"{site.host(SERVER)}/user/{SERVER}/lab"
    with browsers(1, ignore_https_errors=True) as (browser,):
        page = site.log_in(browser, "ada", "hub/home")
        page.get_by_role("button", name="Start the group's server").click()
        page.get_by_role("button", name="Authorize").click()
        page.wait_for_url(f"{address}**", wait_until="domcontentloaded")
    write_together(site, "ada", "grace", SERVER)
    with browsers(1, ignore_https_errors=True) as (browser,):
        page = site.log_in(browser, "grace", "hub/home")
        page.get_by_role("button", name="Stop the group's server").click()
        expect(page.get_by_role("button", name="Start the group's server")).to_be_visible()
        assert not site.hub.runs(SERVER)
        # who is no member reads nothing of it
        page = site.log_in(browser.browser.new_context(ignore_https_errors=True), "alan", "hub/home")  # type: ignore[union-attr]
        expect(page.get_by_role("button", name="Start My Server")).to_be_visible()
        expect(page.get_by_text("statistics")).to_have_count(0)


def test_who_is_removed_from_the_hub_has_no_open_terminal_in_a_shared_server(site: Site, owner: Hub) -> None:
    owner.request("POST", "api/shares/ada/", json={"user": "alan"})
    terminal = site.session("alan").lab("ada").terminal()
    terminal.run("echo $((6 * 7))", until="42")
    alan = site.hub.people.pop("alan")
    site.hub.write()
    try:
        until(lambda: not owner.user()["servers"], "the server stops, and the terminal with it")
        assert owner.spawn().run("print(6 * 7)").strip() == "42"
    finally:
        site.hub.people["alan"] = alan
        site.hub.write()


def write_together(site: Site, first: str, second: str, server: str) -> None:
    """Two people open one notebook in a server, and each sees at once what the other types and runs."""
    address = f"{site.host(server)}/user/{server}/lab"
    with browsers(2, ignore_https_errors=True) as (one, two):
        page = open_lab(site.log_in(one, first, "hub/home"), address)
        page.locator('.jp-LauncherCard[data-category="Notebook"]').first.click()
        mine = cell(page)
        mine.click()
        page.keyboard.insert_text("said = 'hello from one'")
        notebook = page.url.partition("/lab/")[2]
        other = open_lab(site.log_in(two, second, "hub/home"), f"{address}/{notebook}")
        expect(cell(other)).to_contain_text("hello from one")
        cell(other).click()
        other.keyboard.press("Control+End")
        other.keyboard.insert_text("; print(said.replace('one', 'two'))")
        expect(mine).to_contain_text("print(said.replace")
        page.keyboard.press("Shift+Enter")
        for each in (page, other):
            expect(each.locator(".jp-OutputArea-output").first).to_contain_text("hello from two")


def open_lab(page: Page, address: str) -> Page:
    """Go to a page of a server after the log-in; the hub asks before it leads to somebody else's."""
    page.wait_for_url("**/hub/home", wait_until="domcontentloaded")
    page.goto(address, wait_until="domcontentloaded")
    if not page.url.startswith(address):
        page.get_by_role("button", name="Authorize").click()
        page.wait_for_url(f"{address}**", wait_until="domcontentloaded")
    return page


def cell(page: Page) -> Locator:
    expect(page.get_by_text("Python 3 (ipykernel) | Idle")).to_be_visible()
    return page.locator(".jp-Notebook .jp-Cell .cm-content").first
