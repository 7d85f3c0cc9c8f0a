# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Coming to a hub from a learning platform by LTI 1.3, with real keys; what is forged, old or used gets nothing."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import hub_image
import pytest
import requests
from hub_site import HubSite, free_port, person
from module_runner import open_to_all
from playwright.sync_api import expect

from testbed.browser import chromium
from testbed.patience import SOON, until
from testbed.run import run, succeeds

LTI = "https://purl.imsglobal.org/spec/lti/claim/"
ADA = "ada@uni.example"


class Lms:
    """The platform and the hub that knows it."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        # Not the hub's site for a browser, which is how platforms and hubs are.
        self.issuer = f"http://localhost:{self.port}"
        images = hub_image.build("jupyterhub-ltiauthenticator==1.6.3"), os.environ["CARREL_TEST_LAB_IMAGE"]
        authenticator = {
            "type": "custom", "class": "ltiauthenticator.lti13.auth.LTI13Authenticator", "guests": False,
            "settings": {
                "issuer": self.issuer, "authorize_url": f"{self.issuer}/auth", "client_id": ["ABCDEF"],
                "jwks_endpoint": "http://platform:9000/keys", "username_key": "email", "deployment_ids": ["1", "2"],
            },
            "secret_settings": [],
        }  # fmt: skip
        self.site = HubSite(folder, f"carrel-lti-{os.getpid()}", images, authenticator=authenticator)
        self.site.people = {ADA: person(ADA, admin=True)}
        shutil.copy(Path(__file__).parent / "lti_platform.py", folder)

    def up(self) -> None:
        site = self.site
        site.up()
        run(
            "docker", "run", "--detach", "--name", f"{site.name}-platform", "--network", f"{site.name}_users",
            "--network-alias", "platform", "--publish", f"127.0.0.1:{self.port}:9000",
            "--volume", f"{site.folder}/lti_platform.py:/lti_platform.py:ro", site.hub_image,
            "/opt/hub/bin/python", "/lti_platform.py", self.issuer, "9000",
        )  # fmt: skip
        ask = "import socket; socket.create_connection(('platform', 9000), 1)"
        until(lambda: succeeds("docker", "exec", f"{site.name}-hub", "python3", "-c", ask), "the platform answers")

    def begin(self, http: requests.Session, place: str = "", **hint: Any) -> tuple[str, dict[str, str]]:
        """Open the link in a course; return where the platform sends the browser, and with what."""
        asked = {
            "iss": self.issuer, "client_id": "ABCDEF", "target_link_uri": f"{self.site.url}hub/home",
            "login_hint": json.dumps({"email": ADA, **hint}),
        }  # fmt: skip
        page = http.post(f"{self.site.url}hub/{place}lti13/oauth_login", data=asked, timeout=30)
        assert page.status_code == 200, page.text
        fields = re.findall(r'name="([^"]+)" value="([^"]*)"', page.text)
        action = re.search(r'action="([^"]*)"', page.text)
        assert action
        return html.unescape(action[1]), {name: html.unescape(value) for name, value in fields}

    def launch(self, http: requests.Session, **hint: Any) -> requests.Response:
        address, fields = self.begin(http, **hint)
        return http.post(address, data=fields, timeout=30, allow_redirects=False)

    def who(self, http: requests.Session) -> str | None:
        answer = http.get(f"{self.site.url}hub/api/user", timeout=30)
        return str(answer.json()["name"]) if answer.status_code == 200 else None


@pytest.fixture(scope="module")
def lms(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lms]:
    lms = Lms(open_to_all(tmp_path_factory.mktemp("lti")))
    try:
        lms.up()
        yield lms
    finally:
        lms.site.down()


@pytest.fixture
def http() -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False
        yield session


@pytest.mark.parametrize(
    "hint", [{}, {"claims": {"lti:deployment_id": "2"}}, {"claims": {"aud": ["ABCDEF"]}}, {"email": "Ada@Uni.example"}]
)
def test_a_launch_logs_in(lms: Lms, http: requests.Session, hint: dict[str, Any]) -> None:
    answer = lms.launch(http, **hint)
    assert (answer.status_code, answer.headers["Location"]) == (302, "/hub/home")
    assert lms.who(http) == ADA


BAD: dict[str, tuple[dict[str, Any], int]] = {
    "another key": ({"key": "forger"}, 400),
    "no signature": ({"algorithm": "none"}, 400),
    "a signature with a password": ({"algorithm": "HS256", "secret": "x" * 32}, 400),
    "another issuer": ({"claims": {"iss": "http://localhost:1"}}, 400),
    "another client": ({"claims": {"aud": "another"}}, 401),
    "another party": ({"claims": {"aud": ["ABCDEF", "another"], "azp": "another"}}, 401),
    "another deployment": ({"claims": {"lti:deployment_id": "3"}}, 403),
    "no deployment": ({"claims": {"lti:deployment_id": None}}, 400),
    "another nonce": ({"claims": {"nonce": "0" * 64}}, 400),
    "no nonce": ({"claims": {"nonce": None}}, 400),
    "expired": ({"times": {"exp": -1}}, 400),
    "without an end": ({"claims": {"exp": None}}, 400),
    "issued an hour ago": ({"times": {"iat": -3600}}, 400),
    "issued in an hour": ({"times": {"iat": 3600}}, 400),
    "not listed": ({"email": "eve@uni.example"}, 403),
    "no e-mail address": ({"claims": {"email": None}}, 403),
    "an address of another type": ({"claims": {"email": [ADA]}}, 403),
}


@pytest.mark.parametrize(("hint", "status"), BAD.values(), ids=BAD)
def test_what_is_wrong_gets_nothing(lms: Lms, http: requests.Session, hint: dict[str, Any], status: int) -> None:
    answer = lms.launch(http, **hint)
    assert answer.status_code == status, answer.text
    assert lms.who(http) is None


def test_a_launch_counts_once(lms: Lms, http: requests.Session) -> None:
    address, fields = lms.begin(http)
    cookies = http.cookies.copy()
    assert http.post(address, data=fields, timeout=30, allow_redirects=False).status_code == 302
    for kept in (cookies, None):  # a thief with everything, and one with the token alone
        with requests.Session() as thief:
            thief.trust_env = False
            if kept is not None:
                thief.cookies = kept
            answer = thief.post(address, data=fields, timeout=30, allow_redirects=False)
            assert answer.status_code == (403 if kept is not None else 400), answer.text
            assert lms.who(thief) is None


def test_a_token_of_another_launch_is_refused(lms: Lms, http: requests.Session) -> None:
    _address, stolen = lms.begin(http)
    with requests.Session() as thief:
        thief.trust_env = False
        address, mine = lms.begin(thief, email="eve@uni.example")
        answer = thief.post(address, data={**mine, "id_token": stolen["id_token"]}, timeout=30)
        assert answer.status_code == 400 and "nonce mismatch" in answer.text
        assert lms.who(thief) is None


def test_claims_that_the_platform_did_not_sign_are_refused_everywhere_else(lms: Lms, http: requests.Session) -> None:
    lms.launch(http)  # she has been here
    http.cookies.clear()
    hub, claims = f"{lms.site.url}hub", {f"{LTI}deployment_id": "1", "nonce": "n1", "email": ADA}
    for name in (ADA, "ada%40uni.example"):
        assert http.post(f"{hub}/api/users/{name}/tokens", json={"auth": claims}, timeout=30).status_code == 403
    http.get(f"{hub}/login", timeout=30)
    form = {**claims, "nonce": "n2", "_xsrf": http.cookies.get("_xsrf", path="/hub/")}
    assert http.post(f"{hub}/login", data=form, timeout=30).status_code == 403
    assert lms.who(http) is None


def test_the_hub_s_own_page_says_where_to_begin(lms: Lms, http: requests.Session) -> None:
    assert "from a course in your learning platform" in http.get(f"{lms.site.url}hub/login", timeout=30).text


def test_a_launch_in_a_browser(lms: Lms) -> None:
    asked = {
        "hub": f"{lms.site.url}hub/lti13/oauth_login", "iss": lms.issuer, "client_id": "ABCDEF",
        "target_link_uri": f"{lms.site.url}hub/home", "login_hint": json.dumps({"email": ADA}),
    }  # fmt: skip
    with chromium() as browser:
        page = browser.new_page()
        page.goto(f"{lms.issuer}/course?{urlencode(asked)}")
        page.get_by_role("button", name="The hub").click()
        expect(page.get_by_role("link", name="Admin")).to_be_visible()


def test_a_platform_that_is_away_holds_up_nobody(lms: Lms, http: requests.Session) -> None:
    address, fields = lms.begin(http)
    run("docker", "pause", f"{lms.site.name}-platform")
    try:
        with pytest.raises(requests.Timeout):
            http.post(address, data=fields, timeout=1)
        assert requests.get(f"{lms.site.url}hub/health", timeout=SOON).status_code == 200
    finally:
        run("docker", "unpause", f"{lms.site.name}-platform")
