# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A hub with three authenticators: a real directory, a real OpenID provider, and passwords of its own."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hub_image
import pytest
import requests
from hub_site import HubSite, free_port, person
from module_runner import open_to_all
from playwright.sync_api import Page, expect
from test_hub_ldap import BASE, FILES, SETTINGS, STATISTICS
from test_hub_oidc import packages, page

from testbed import images, pki
from testbed.client import LoginError
from testbed.patience import until
from testbed.run import run, succeeds

__all__ = ["packages", "page"]
UNI, GUESTS = "login/uni/login", "login/guests/login"


def members(issuer: str) -> list[dict[str, Any]]:
    own = {"guests": False, "settings": {}, "secret_settings": []}
    return [
        {"name": "uni", "title": "University & <Co>", "prefix": "", "type": "ldap",
         "server_address": "ldap.carrel.test", **own, "settings": SETTINGS,
         "secret_settings": ["lookup_dn_search_password"]},
        {"name": "guests", "title": "Guests", "prefix": "guests-", "type": "native", "signup": True},
        {"name": "sso", "title": "Single Sign-On", "prefix": "sso-", "type": "oidc", "client_id": "hub",
         "username_claim": "preferred_username", "authorize_url": f"{issuer}/auth",
         "token_url": "http://provider:9000/token", "userdata_url": "http://provider:9000/me",
         "scopes": ["openid", "profile"], "login_service": "SSO", "groups_claim": "groups", **own,
         "settings": {"logout_redirect_url": f"{issuer}/goodbye"}},
    ]  # fmt: skip


@pytest.fixture(scope="module")
def site(packages: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubSite]:
    pki.ensure()
    folder = open_to_all(tmp_path_factory.mktemp("several"))
    port = free_port()
    issuer = f"http://127.0.0.1:{port}"
    names = hub_image.build(), os.environ["CARREL_TEST_LAB_IMAGE"]
    groups = [f"uni:{STATISTICS}", "sso:statistics"]
    site = HubSite(
        folder, f"carrel-several-{os.getpid()}", names, provider_groups=groups, notice_html="<b>Exam week</b>",
        authenticator={"type": "several", "each": members(issuer)},
    )  # fmt: skip
    secret = secrets.token_hex(16)
    site.secrets |= {
        "authenticator/uni/lookup_dn_search_password": "search-secret", "authenticator/sso/client_secret": secret,
    }  # fmt: skip
    site.people = {name: person(name) for name in ("ada", "bob", "guests-ada", "sso-ada", "guests-eve", "sso-eve")}
    site.people["sso-ada"]["admin"] = True
    site.passwords = {"guests-ada": "guest-secret"}
    site.provider_groups = {"statistics": [groups[0]], "seminar": [groups[1]]}
    for group in site.provider_groups:
        (folder / group).mkdir()
        mount = {"source": str(folder / group), "target": f"/home/jovyan/work/{group}", "members": "ro", "admins": "rw"}
        site.mounts["groups"][group] = {"members": [], "admins": [], "mounts": [mount]}
    shutil.copy(pki.CA, folder / "hub" / "ca.crt")
    shutil.copy(Path(__file__).parent / "oidc_provider.js", folder)
    try:
        site.up()  # while there is no directory, and no provider
        yield site
    finally:
        site.down()


@pytest.fixture(scope="module")
def providers(site: HubSite, packages: Path) -> None:
    """The directory and the OpenID provider, which come up after the hub."""
    sso = site.config["authenticator"]["each"][2]
    issuer = sso["authorize_url"].removesuffix("/auth")
    run(
        "docker", "run", "--detach", "--name", f"{site.name}-directory", "--network", f"{site.name}_users",
        "--network-alias", "ldap.carrel.test", "--volume", f"{FILES}:/config:ro",
        "--volume", f"{pki.CERTIFICATE.parent}:/pki:ro", images.build("slapd", parent=images.base()),
    )  # fmt: skip
    run(
        "docker", "run", "--detach", "--name", f"{site.name}-provider", "--network", f"{site.name}_users",
        "--network-alias", "provider", "--publish", f"127.0.0.1:{issuer.rpartition(':')[2]}:9000",
        "--env", f"CLIENT_SECRET={site.secrets['authenticator/sso/client_secret']}",
        "--volume", f"{packages}:/provider/node_modules:ro",
        "--volume", f"{site.folder}/oidc_provider.js:/provider/oidc_provider.js:ro", site.hub_image,
        "node", "/provider/oidc_provider.js", issuer, f"{site.url}hub/login/sso/oauth_callback",
    )  # fmt: skip
    for place in (("ldap.carrel.test", 389), ("provider", 9000)):
        ask = f"import socket; socket.create_connection({place}, 1)"
        asking = ("docker", "exec", f"{site.name}-hub", "python3", "-c", ask)
        until(lambda asking=asking: succeeds(*asking), f"{place} answers")


def log_in(site: HubSite, name: str, password: str, where: str) -> str:
    with site.session() as hub:
        hub.login(name, password, where)
        return str(hub.user()["name"])


def sso(page: Page, site: HubSite, name: str) -> None:
    page.goto(f"{site.url}hub/home")
    page.get_by_role("button", name="Single Sign-On").click()
    page.locator("input[name=login]").fill(name)
    page.locator("input[name=password]").fill("anything")
    page.get_by_role("button", name="Sign-in").click()
    page.get_by_role("button", name="Continue").click()


def test_while_the_directory_is_down_the_others_log_in(site: HubSite) -> None:
    assert log_in(site, "ada", "guest-secret", GUESTS) == "guests-ada"
    with pytest.raises(LoginError, match="directory of users cannot be asked"):
        log_in(site, "ada", "ada-secret", UNI)


def test_the_page_offers_all_under_the_notice(page: Page, site: HubSite, providers: None) -> None:
    page.goto(f"{site.url}hub/home")
    expect(page.get_by_text("Exam week")).to_be_visible()
    buttons = page.locator("#login-main").get_by_role("button")
    expect(buttons).to_have_text(["University & <Co>", "Guests", "Single Sign-On"])
    buttons.first.click()
    expect(page.get_by_role("heading", name="University & <Co>")).to_be_visible()
    expect(page.get_by_text("Exam week")).to_be_visible()
    page.get_by_role("link", name="Log in another way").click()
    page.get_by_role("button", name="Guests").click()
    expect(page.get_by_role("link", name="Sign up")).to_be_visible()
    page.get_by_label("Username").fill("ada")
    page.locator("#password_input").fill("wrong-secret")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_text("Invalid username or password")).to_be_visible()
    expect(page.get_by_role("heading", name="Guests")).to_be_visible()
    page.get_by_label("Username").fill("ada")
    page.locator("#password_input").fill("guest-secret")
    page.get_by_role("button", name="Sign in").click()
    expect(page).to_have_url(f"{site.url}hub/home")
    expect(page.get_by_role("link", name="Change password")).to_be_visible()


def test_three_people_called_ada_have_three_accounts(page: Page, site: HubSite, providers: None) -> None:
    assert log_in(site, "ada", "ada-secret", UNI) == "ada"
    assert log_in(site, "Ada", "guest-secret", GUESTS) == "guests-ada"
    assert log_in(site, "guests-ada", "guest-secret", GUESTS) == "guests-ada"
    sso(page, site, "ada")
    expect(page.get_by_text("sso-ada").first).to_be_visible()
    for name in ("Admin", "Authorize users"):
        expect(page.get_by_role("link", name=name)).to_be_visible()
    expect(page.get_by_role("link", name="Change password")).to_be_hidden()
    page.goto(f"{site.url}hub/authorize")
    expect(page.get_by_text("guests-eve")).to_be_visible()
    for listed in ("bob", "sso-eve"):  # they log in elsewhere: there is no invitation
        expect(page.get_by_text(listed, exact=True)).to_be_hidden()
    page.goto(f"{site.url}hub/logout")
    expect(page).to_have_url(f"{site.config['authenticator']['each'][2]['settings']['logout_redirect_url']}")


def test_passwords_and_names_of_one_are_of_no_use_at_another(site: HubSite, providers: None) -> None:
    for name, password, where in (
        ("ada", "ada-secret", GUESTS), ("ada", "guest-secret", UNI), ("guests-ada", "guest-secret", UNI),
        ("sso-ada", "guest-secret", GUESTS), ("eve", "eve-secret", UNI), ("sso-eve", "sso-eve-secret", UNI),
    ):  # fmt: skip
        with pytest.raises(LoginError):
            log_in(site, name, password, where)
    with pytest.raises(LoginError, match="status 200"):  # the page offers no form, and takes none
        log_in(site, "ada", "ada-secret", "login")
    with site.session() as hub:
        token = hub.request("GET", "login").text
        assert 'type="password"' not in token
        assert hub.request("POST", "login", data={"username": "ada", "password": "x"}, check=False).status_code == 405


def test_a_name_with_another_s_prefix_is_refused(site: HubSite, providers: None) -> None:
    """uid=guests-ada of the directory, whose names have no prefix, is not Ada the guest."""
    person = "dn: uid=guests-ada,ou=people,{0}\nobjectClass: inetOrgPerson\nuid: guests-ada\ncn: x\nsn: x\n"
    ldif = f"{person.format(BASE)}userPassword: thief-secret\n"
    (site.folder / "thief.ldif").write_text(ldif)
    run("docker", "cp", site.folder / "thief.ldif", f"{site.name}-directory:/tmp/thief.ldif")
    run("docker", "exec", f"{site.name}-directory", "slapadd", "-f", "/config/slapd.conf", "-l", "/tmp/thief.ldif")
    with pytest.raises(LoginError, match="names like that are of people who log in another way"):
        log_in(site, "guests-ada", "thief-secret", UNI)


def test_groups_of_each_provider_have_their_mounts(page: Page, site: HubSite, providers: None) -> None:
    with site.session() as hub:
        hub.login("ada", "ada-secret", UNI)
        until(lambda: hub.user()["groups"] == ["statistics"], "the directory's group is there")
        hub.spawn()
        mounts = run("docker", "inspect", "--format", "{{json .Mounts}}", site.container("ada"))
        assert "/home/jovyan/work/statistics" in mounts and "seminar" not in mounts
        hub.stop()
    sso(page, site, "ada")
    expect(page.get_by_text("sso-ada").first).to_be_visible()
    page.goto(f"{site.url}hub/spawn")
    page.wait_for_url("**/user/sso-ada/lab**", wait_until="domcontentloaded")
    mounts = run("docker", "inspect", "--format", "{{json .Mounts}}", site.container("sso-ada"))
    assert "/home/jovyan/work/seminar" in mounts and "work/statistics" not in mounts


def test_who_leaves_the_list_loses_access_and_others_keep_theirs(site: HubSite, providers: None) -> None:
    with site.session() as guest, site.session() as student:
        guest.login("ada", "guest-secret", GUESTS)
        student.login("bob", "bob-secret", UNI)
        ada = site.people.pop("guests-ada")
        site.write()
        try:
            until(lambda: guest.request("GET", "api/user", check=False).status_code == 403, "the session ends")
            assert student.user()["name"] == "bob"
            with pytest.raises(LoginError):
                log_in(site, "ada", "guest-secret", GUESTS)
        finally:
            site.people["guests-ada"] = ada
            site.write()


def test_a_guest_signs_up_and_is_approved(site: HubSite, providers: None) -> None:
    said = requests.get(f"{site.url}hub/signup", timeout=30)
    assert said.status_code == 200
    with site.session() as hub:
        hub.sign_up("zoe", "zoe-has-a-secret")
        assert "names like that are of people who log in another way" not in hub.sign_up("zoe2", "zoe-has-a-secret")
    with pytest.raises(LoginError, match="waits for an administrator"):
        log_in(site, "zoe", "zoe-has-a-secret", GUESTS)
