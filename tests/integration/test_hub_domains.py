# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a page in one user's server can do to others, with a domain for each user and without, in a real browser."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator

import hub_image
import pytest
import requests
from ansible_collections.carrel.jupyter.plugins.module_utils._shared.escape import escape
from domain_site import Site, shown
from hub_site import free_port
from module_runner import open_to_all
from playwright.sync_api import BrowserContext, Page, expect

from testbed.browser import chromium
from testbed.client import LoginError
from testbed.patience import PATIENCE, until

PASSWORDS = {"ada": "lovelace", "eve": "apple and snake", "alan.t@uni.example": "turing"}
DIARY = "what nobody else shall read"
# A user's server is hers: whatever it serves, it serves to visitors who never logged in to it, too.
CONFIG = """
import sys
sys.path.insert(0, "/home/jovyan/.jupyter")
c.ServerApp.extra_services = ["eve"]
"""
PAGE = """
from tornado import web

class Page(web.RequestHandler):
    def get(self):
        self.finish('''<!doctype html><title>Eve</title><script>
            // A window of the same site is an open book, with the cookie that proves a request to be its own.
            async function read(page, api) {
                const opened = window.open(page);
                try {
                    for (let tries = 0; tries < 300; tries++) {
                        await new Promise(done => setTimeout(done, 100));
                        if (opened.location.href === "about:blank") continue;
                        const token = opened.document.cookie.match(/_xsrf=([^;]+)/);
                        if (!token) continue;
                        const answer = await opened.fetch(api, {headers: {"X-XSRFToken": token[1]}});
                        return await answer.text();
                    }
                    return "no token";
                } catch (error) {
                    return error.name;
                } finally {
                    opened.close();
                }
            }
            async function get(url) {
                try {
                    return await (await fetch(url, {credentials: "include"})).text();
                } catch (error) {
                    return error.name;
                }
            }
            function listen(url) {
                return new Promise(done => {
                    const socket = new WebSocket(url);
                    socket.onopen = () => { done("open"); socket.close(); };
                    socket.onerror = () => done("refused");
                });
            }
        </script>''')

default_handlers = [(r"/page", Page)]
"""

# What pages of users can set, hoping that Apache makes the hub's cookie of it
OTHERS = (
    "carrel-apart.", "__Host-", "carrel-apart.__Host-", "carrel-apart. __Host-", "carrel-apart.carrel-apart.__Host-",
    "carrel-apart.carrel-apart.carrel-apart.__Host-", "carrel-apart.carrel-apart. __Host-",
    "carrel-apart.carrel-apart.\t__Host-", "_xsrf=1$0__Host-",
)  # fmt: skip

SUBMIT = """([action, fields]) => {
    const form = document.createElement("form");
    Object.assign(form, {method: "post", action});
    for (const [name, value] of Object.entries(fields))
        form.append(Object.assign(document.createElement("input"), {name, value}));
    document.body.append(form);
    form.submit();
}"""


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Site]]:
    images = hub_image.build(), os.environ["CARREL_TEST_LAB_IMAGE"]
    port, found = free_port(), {}
    run = secrets.token_hex(3)
    try:
        for name, domains in (("apart", True), ("together", False)):
            folder = open_to_all(tmp_path_factory.mktemp(name))
            found[name] = Site(folder, f"{name}-{run}", images, f"https://{name}.test:{port}/", PASSWORDS, domains)
            hub = found[name].hub
            settings = {"source": f"{folder}/users/{{username}}/settings", "target": "/home/jovyan/.jupyter"}
            hub.mounts["user"].append(settings)
            hub.write()
            for user in PASSWORDS:
                own = folder / "users" / escape(user) / "settings"
                own.mkdir()
                os.chown(own, 1000, 100)
            (folder / "users/ada/home/diary.txt").write_text(DIARY)
            for file, text in (("jupyter_server_config.py", CONFIG), ("eve.py", PAGE)):
                (folder / "users/eve/settings" / file).write_text(text)
            hub.up()
        with shown(open_to_all(tmp_path_factory.mktemp("apache")), port, *found.values()):
            for site in found.values():
                site.session("eve").spawn()
            yield found
    finally:
        for site in found.values():
            site.hub.down()


@pytest.fixture
def browser(sites: dict[str, Site]) -> Iterator[BrowserContext]:
    with chromium(ignore_https_errors=True) as context:
        yield context


def enter(browser: BrowserContext, site: Site) -> Page:
    """Ada logs in, and her server starts."""
    page = site.log_in(browser, "ada")
    page.wait_for_url(f"{site.host('ada')}/user/ada/lab**", wait_until="domcontentloaded")
    return page


def tries(browser: BrowserContext, site: Site) -> dict[str, str]:
    """What a page of Eve's gets as Ada, who looks at it."""
    enter(browser, site)
    page = browser.new_page()
    page.goto(f"{site.host('eve')}/user/eve/page")
    expect(page).to_have_title("Eve")
    server = f"{site.host('ada')}/user/ada/"
    socket = server.replace("https:", "wss:") + "api/events/subscribe"
    return {
        "hub": page.evaluate(f"read('{site.url}hub/home', '/hub/api/user')"),
        "server": page.evaluate(f"read('{server}lab', '/user/ada/api/contents/diary.txt')"),
        "file": page.evaluate(f"get('{server}files/diary.txt')"),
        "socket": page.evaluate(f"listen('{socket}')"),
    }


def test_a_page_of_a_user_with_a_domain_gets_nothing_of_others(browser: BrowserContext, sites: dict[str, Site]) -> None:
    assert tries(browser, sites["apart"]) == {
        "hub": "SecurityError", "server": "SecurityError", "file": "TypeError", "socket": "refused",
    }  # fmt: skip


def test_without_domains_it_acts_as_whoever_looks_at_it(browser: BrowserContext, sites: dict[str, Site]) -> None:
    """Else the test above could not fail."""
    found = tries(browser, sites["together"])
    assert '"name": "ada"' in found["hub"]
    assert DIARY in found["server"]
    assert found["socket"] == "open"


def test_a_page_of_a_user_cannot_log_others_in(browser: BrowserContext, sites: dict[str, Site]) -> None:
    """It sets its own log-in for the hub and everybody's server, hoping that it comes before theirs or after it."""
    site = sites["apart"]
    ada = enter(browser, site)
    eve = site.session("eve")
    value = next(cookie.value for cookie in eve.http.cookies if "hub-login" in cookie.name)
    page = browser.new_page()
    page.goto(f"{site.host('eve')}/user/eve/page")
    for name in ("__Host-carrel-apart.", *OTHERS):
        for path in ("/", "/hub/"):
            cookie = f"{name}jupyterhub-hub-login={value}; domain=apart.test; path={path}; secure"
            page.evaluate("cookie => { document.cookie = cookie; }", cookie)
    set_ = {cookie["name"] for cookie in browser.cookies() if cookie["domain"] == ".apart.test"}
    assert "carrel-apart.__Host-jupyterhub-hub-login" in set_
    assert "__Host-carrel-apart.jupyterhub-hub-login" not in set_
    ada.goto(f"{site.url}hub/home")
    expect(ada.get_by_text("ada", exact=True).first).to_be_visible()


def test_a_page_of_a_user_cannot_fill_in_the_form(browser: BrowserContext, sites: dict[str, Site]) -> None:
    """Before a log-in, the form's token is that of everybody with this address and browser: Eve has it, too."""
    site = sites["apart"]
    page = browser.new_page()
    page.goto(f"{site.host('eve')}/user/eve/page")
    agent = {"User-Agent": page.evaluate("navigator.userAgent")}
    token = site.get("apart.test", "/hub/login", **agent).cookies["_xsrf"]
    page.evaluate("cookie => { document.cookie = cookie; }", f"_xsrf={token}; domain=apart.test; path=/hub/; secure")
    form = {"username": "eve", "password": PASSWORDS["eve"]}
    path = f"/hub/login?_xsrf={token}"
    with page.expect_navigation(wait_until="domcontentloaded") as answer:
        page.evaluate(SUBMIT, [f"{site.url.rstrip('/')}{path}", form])
    assert answer.value.url == f"{site.url.rstrip('/')}{path}" and answer.value.status == 400
    page.goto(f"{site.url}hub/home")
    expect(page.locator("input[name=password]")).to_be_visible()
    # the same from the hub's own page logs in: nothing else was wrong with it
    for where, status in (("same-origin", 302), ("none", 302), ("same-site", 400), ("cross-site", 400)):
        headers = {**agent, "Cookie": f"_xsrf={token}", "Sec-Fetch-Mode": "navigate"}
        told = requests.post(
            f"{site.url.rstrip('/')}{path}", data=form, headers={**headers, "Sec-Fetch-Site": where},
            verify=site.certificate, timeout=PATIENCE, allow_redirects=False,
        )  # fmt: skip
        assert told.status_code == status, where


def test_only_the_cookie_that_browsers_protect_is_a_log_in(sites: dict[str, Site]) -> None:
    site = sites["apart"]
    jar = {cookie.name: cookie for cookie in site.session("ada").http.cookies}
    value = jar["__Host-carrel-apart.jupyterhub-hub-login"].value
    for name, status in {"__Host-carrel-apart.": 200, **dict.fromkeys(OTHERS, 302)}.items():
        answer = site.get("apart.test", "/hub/home", Cookie=f"{name}jupyterhub-hub-login={value}")
        assert answer.status_code == status, name


def test_people_work_at_their_names_until_they_log_out(sites: dict[str, Site]) -> None:
    site = sites["apart"]
    session = site.session("ada")
    session.stop()
    lab = session.spawn()
    assert lab.url == f"{site.host('ada')}/user/ada/"
    assert lab.run("print(6 * 7)").strip() == "42"
    assert "diary.txt" in lab.terminal().run("ls work || ls", "diary.txt")
    # the hub's cookies are the hub's alone
    assert {cookie.domain for cookie in session.http.cookies if "hub" in cookie.path} == {"apart.test"}
    session.logout()
    until(lambda: lab.request("GET", "api/status", check=False).status_code == 403, "the server notices")


def test_a_server_can_be_shared_with_one_person_and_taken_back(sites: dict[str, Site]) -> None:
    """The hub without domains has no sharing."""
    for name, may in (("apart", True), ("together", False)):
        owner = sites[name].session("ada")
        if not owner.user()["servers"]:
            owner.spawn()
        answer = owner.request("POST", "api/shares/ada/", json={"user": "eve"}, check=False)
        assert answer.status_code == (200 if may else 403), answer.text
    site = sites["apart"]
    owner, guest = site.session("ada"), site.session("eve")
    lab = guest.lab("ada")
    assert lab.url == f"{site.host('ada')}/user/ada/" and lab.get("diary.txt") == DIARY
    with pytest.raises(LoginError):
        site.session("alan.t@uni.example").lab("ada")
    # who has a share may not pass it on, nor share what is others', nor see who else is there
    for user in ("ada", "alan.t@uni.example"):
        told = guest.request("POST", f"api/shares/{user}/", json={"user": "alan.t@uni.example"}, check=False)
        assert told.status_code in (403, 404), told.text
    assert guest.request("GET", "api/users", check=False).status_code == 403
    owner.request("PATCH", "api/shares/ada/", json={"user": "eve"})
    until(lambda: lab.request("GET", "api/status", check=False).status_code == 403, "the share ends")


def test_unusual_names_become_good_ones(sites: dict[str, Site]) -> None:
    session = sites["apart"].session("alan.t@uni.example")
    lab = session.spawn()
    assert lab.url.startswith("https://u-alantuni--")
    assert lab.request("GET", "api/status").status_code == 200
    assert session.user()["servers"][""]["full_url"] == lab.url
    session.stop()


def test_the_page_for_backups_has_a_name_of_its_own(sites: dict[str, Site]) -> None:
    site = sites["apart"]
    session = site.session("ada")
    link = f"{site.host('backups--service')}/services/backups/"
    assert f'href="{link}"' in session.request("GET", "home").text
    page = session.http.get(link, timeout=PATIENCE)
    assert page.url == link and "Backups of your home" in page.text
    assert f'href="{site.url}hub/home"' in page.text


def test_the_name_of_a_server_has_no_other_pages(sites: dict[str, Site]) -> None:
    site = sites["apart"]
    for path in (
        "/",
        "/hub/login?next=%2F",
        "/hub/api/user",
        "/user",
        "/user/../hub/login",
        "/services/%2e%2e/hub/login",
    ):
        answer = site.get("eve.apart.test", path)
        assert answer.status_code == 302, path
        assert answer.headers["Location"].startswith(site.url), path
    # another's server, and one that does not run
    for name, path in (("eve.apart.test", "/user/ada/lab"), ("nobody.apart.test", "/user/nobody/")):
        answer = site.get(name, path)
        assert answer.status_code == 302 and answer.headers["Location"].startswith(f"{site.url}hub/user/")
    for name in ("a.b.apart.test", "apart.test.example", "a_b.apart.test"):
        assert site.get(name, "/user/a/").status_code == 421, name
