# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Logging in at a real OpenID provider (oidc-provider) in a real browser; two people whose names become one."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

import hub_image
import module_runner
import pytest
import requests
from hub_site import HOME, HubSite, free_port, person
from module_runner import open_to_all
from playwright.sync_api import Page, expect

from testbed import engine
from testbed.browser import chromium
from testbed.patience import PATIENCE, until
from testbed.run import ROOT, alone, run, step, succeeds

PACKAGES = ROOT / ".cache" / "oidc-provider"
VERSION = "8.8.1"  # the last for Node.js 20


@pytest.fixture(scope="module")
def packages() -> Path:
    PACKAGES.mkdir(parents=True, exist_ok=True)
    # the workers of pytest-xdist share them
    with alone("oidc-provider"):
        if not (PACKAGES / "installed").exists():
            if not shutil.which("npm"):
                engine.install_packages("npm")
            with step("installing oidc-provider"):
                run("npm", "install", "--no-audit", "--no-fund", "--prefix", PACKAGES, f"oidc-provider@{VERSION}")
            (PACKAGES / "installed").touch()
    return PACKAGES / "node_modules"


@pytest.fixture(scope="module")
def site(packages: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubSite]:
    folder = open_to_all(tmp_path_factory.mktemp("oidc"))
    port = free_port()
    issuer, inside = f"http://127.0.0.1:{port}", "http://provider:9000"
    authenticator = {
        "type": "oidc", "client_id": "hub", "username_claim": "preferred_username", "authorize_url": f"{issuer}/auth",
        "token_url": f"{inside}/token", "userdata_url": f"{inside}/me", "scopes": ["openid", "profile"],
        "login_service": "the university", "groups_claim": None, "guests": False, "settings": {}, "secret_settings": [],
    }  # fmt: skip
    images = hub_image.build(), os.environ["CARREL_TEST_LAB_IMAGE"]
    site = HubSite(folder, f"carrel-oidc-{os.getpid()}", images, authenticator=authenticator, normalize_usernames=True)
    site.secrets["client_secret"] = secrets.token_hex(16)
    site.people = {"ada-l--uni-example": person("Ada.L@uni.example", admin=True)}
    site.mounts["groups"] = {"statistics": {"members": list(site.people), "admins": [], "mounts": []}}
    shutil.copy(Path(__file__).parent / "oidc_provider.js", folder)
    try:
        site.up()
        run(
            "docker", "run", "--detach", "--name", f"{site.name}-provider", "--network", f"{site.name}_users",
            "--network-alias", "provider", "--publish", f"127.0.0.1:{port}:9000",
            "--env", f"CLIENT_SECRET={site.secrets['client_secret']}",
            "--volume", f"{packages}:/provider/node_modules:ro",
            "--volume", f"{folder}/oidc_provider.js:/provider/oidc_provider.js:ro", images[0],
            "node", "/provider/oidc_provider.js", issuer, f"{site.url}hub/oauth_callback",
        )  # fmt: skip
        ask = "import socket; socket.create_connection(('provider', 9000), 1)"
        until(lambda: succeeds("docker", "exec", f"{site.name}-hub", "python3", "-c", ask), "the provider answers")
        yield site
    finally:
        site.down()


@pytest.fixture
def page() -> Iterator[Page]:
    with chromium() as browser:
        yield browser.new_page()


def log_in(page: Page, site: HubSite, name: str) -> None:
    page.goto(f"{site.url}hub/home")
    page.get_by_role("button", name="Sign in with the university").click()
    page.locator("input[name=login]").fill(name)
    page.locator("input[name=password]").fill("anything")
    page.get_by_role("button", name="Sign-in").click()
    page.get_by_role("button", name="Continue").click()


def test_listed_people_get_in_under_the_short_name(page: Page, site: HubSite) -> None:
    log_in(page, site, "ada.l@uni.example")
    expect(page.get_by_text("ada-l--uni-example").first).to_be_visible()
    expect(page.get_by_role("link", name="Admin")).to_be_visible()


def test_the_admin_page_offers_nothing_that_the_inventory_decides(page: Page, site: HubSite) -> None:
    log_in(page, site, "ada.l@uni.example")
    page.goto(f"{site.url}hub/admin")
    expect(page.get_by_text("The inventory decides")).to_be_visible()
    page.get_by_role("button", name="Edit User").click()
    expect(page.get_by_role("button", name="Delete user")).to_be_visible()
    for offered in (page.get_by_placeholder("updated username"), page.get_by_role("button", name="Apply")):
        expect(offered).to_be_hidden()
    page.goto(f"{site.url}hub/admin#/groups")
    page.get_by_role("link", name="statistics").click()
    expect(page.get_by_role("heading", name="Editing Group statistics")).to_be_visible()
    for name in ("Add user", "Delete Group"):
        expect(page.get_by_role("button", name=name)).to_be_hidden()
    expect(page.get_by_placeholder("Add by username")).to_be_hidden()


def test_another_identity_with_the_same_short_name_is_refused(page: Page, site: HubSite) -> None:
    log_in(page, site, "ada-l@uni.example")
    expect(page.get_by_role("heading", name="that is somebody else's")).to_be_visible()
    page.goto(f"{site.url}hub/home")
    expect(page.get_by_role("button", name="Sign in with the university")).to_be_visible()


def with_cookies(page: Page) -> requests.Session:
    """What asks with the browser's cookies. Playwright itself is in another network."""
    session = requests.Session()
    for cookie in page.context.cookies():
        session.cookies.set(cookie["name"], cookie["value"], domain=cookie["domain"], path=cookie["path"])
    return session


def status(page: Page, url: str) -> int:
    return with_cookies(page).get(url, timeout=PATIENCE, allow_redirects=False).status_code


def enter(page: Page, site: HubSite, name: str) -> bool:
    """Start the user's server if it does not run, and go there."""
    page.goto(f"{site.url}hub/spawn/{name}", wait_until="commit")
    page.goto(f"{site.url}user/{name}/lab", wait_until="commit")
    return status(page, f"{site.url}user/{name}/api/status") == 200


def test_somebody_else_who_gets_the_name_gets_nothing_else(page: Page, site: HubSite) -> None:
    """In the roster Ada.L leaves, and ada-l comes, whose short name is the same."""
    name = "ada-l--uni-example"
    users = {"path": f"{site.folder}/users", "hub_directory": str(site.folder), "uid": 1000, "gid": 100}

    def archive(identity: str) -> None:
        people = [{"name": name, "identity": identity}]
        assert "failed" not in module_runner.run("user_volumes", {**users, "users": people})

    def asks(token: str) -> int:
        headers = {"Authorization": f"token {token}"}
        return requests.get(f"{site.url}hub/api/user", headers=headers, timeout=PATIENCE).status_code

    archive("Ada.L@uni.example")
    log_in(page, site, "ada.l@uni.example")
    expect(page.get_by_text(name).first).to_be_visible()
    with with_cookies(page) as session:
        headers = {"X-XSRFToken": session.cookies.get("_xsrf", path="/hub/") or ""}
        made = session.post(f"{site.url}hub/api/users/{name}/tokens", headers=headers, timeout=PATIENCE)
    token = made.json()["token"]
    until(lambda: enter(page, site, name), "the server runs")
    run("docker", "exec", site.container(name), "sh", "-c", f"echo secret > {HOME}/thesis")
    assert asks(token) == status(page, f"{site.url}hub/api/user") == 200

    site.people = {name: person("ada-l@uni.example")}
    archive("ada-l@uni.example")
    site.write()
    until(lambda: asks(token) == 403, "the token ends")
    until(lambda: not site.runs(name), "the server stops")
    # Until then the hub asks who has the name now to try again.
    until(lambda: f"roster: {name} is somebody else now and was deleted" in site.log(), "the account ends")
    assert status(page, f"{site.url}hub/api/user") == 403
    assert status(page, f"{site.url}user/{name}/api/status") != 200
    assert page.context.browser
    with page.context.browser.new_page() as other:
        log_in(other, site, "ada-l@uni.example")
        expect(other.get_by_text(name).first).to_be_visible()
        expect(other.get_by_role("link", name="Admin")).to_be_hidden()
        until(lambda: enter(other, site, name), "the new server runs")
        assert run("docker", "exec", site.container(name), "ls", HOME).split() == []
        assert status(page, f"{site.url}user/{name}/api/status") != 200
    assert list((site.folder / "users" / ".archive").glob("*/home/thesis"))
    page.context.clear_cookies()
    log_in(page, site, "ada.l@uni.example")
    expect(page.get_by_role("heading", name="that is somebody else's")).to_be_visible()


def test_people_who_are_not_listed_are_refused(page: Page, site: HubSite) -> None:
    log_in(page, site, "mallory@uni.example")
    expect(page.get_by_role("heading", name="not currently authorized to use this hub")).to_be_visible()
    assert "mallory" not in site.in_hub("python3", "-m", "carrel_hub.database", "dump")
