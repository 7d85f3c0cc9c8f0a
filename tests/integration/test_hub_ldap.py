# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A hub whose users are in a real LDAP directory (slapd) with TLS and groups, and what an administrator adds to it."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hub_image
import pytest
import requests
from hub_site import HubSite, person
from module_runner import open_to_all

from testbed import images, pki
from testbed.client import LoginError
from testbed.patience import until
from testbed.run import run, succeeds

FILES = Path(__file__).parent / "ldap"
BASE = "dc=uni,dc=example"
STATISTICS = f"cn=statistics,ou=groups,{BASE}"
SETTINGS: dict[str, Any] = {
    "lookup_dn": True, "user_search_base": f"ou=people,{BASE}",
    "user_attribute": "uid", "lookup_dn_search_user": f"uid=search,ou=people,{BASE}",
    "lookup_dn_user_dn_attribute": "uid", "tls_kwargs": {"ca_certs_file": "/etc/carrel/hub/ca.crt"},
}  # fmt: skip
EXTRA = 'c.JupyterHub.template_vars["announcement"] = "Exam on Friday"\n'


def authenticator(server_address: str = "ldap.carrel.test", **settings: Any) -> dict[str, Any]:
    return {
        "type": "ldap", "server_address": server_address, "guests": False, "settings": {**SETTINGS, **settings},
        "secret_settings": ["lookup_dn_search_password"],
    }  # fmt: skip


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubSite]:
    pki.ensure()
    folder = open_to_all(tmp_path_factory.mktemp("ldap"))
    shutil.copy(pki.CA, folder)
    names = hub_image.build(), os.environ["CARREL_TEST_LAB_IMAGE"]
    service = {"name": "stats", "url": None, "command": None, "environment": {}, "scopes": ["list:users"], "access": []}
    page = {"name": "page", "url": "http://page:9000", "command": None, "environment": {}, "scopes": [],
            "access": ["statistics"]}  # fmt: skip
    site = HubSite(
        folder, f"carrel-ldap-{os.getpid()}", names, authenticator=authenticator(), provider_groups=[STATISTICS],
        services=[service, page],
        extra_config=[{"name": "exam.py", "text": EXTRA}],
    )  # fmt: skip
    site.secrets["authenticator/lookup_dn_search_password"] = "search-secret"
    site.secrets |= {"services/stats": "s" * 64, "services/page": "p" * 64}
    site.people = {name: person(name) for name in ("ada", "bob")}
    site.provider_groups = {"statistics": [STATISTICS]}
    shared = folder / "statistics"
    shared.mkdir()
    site.mounts["groups"]["statistics"] = {
        "members": [], "admins": [],
        "mounts": [{"source": str(shared), "target": "/home/jovyan/work/statistics", "members": "ro", "admins": "rw"}],
    }  # fmt: skip
    shutil.copy(pki.CA, folder / "hub" / "ca.crt")
    try:
        site.up()
        run(
            "docker", "run", "--detach", "--name", f"{site.name}-directory", "--network", f"{site.name}_users",
            "--network-alias", "ldap.carrel.test", "--network-alias", "directory.uni.example",
            "--volume", f"{FILES}:/config:ro", "--volume", f"{pki.CERTIFICATE.parent}:/pki:ro",
            images.build("slapd", parent=images.base()),
        )  # fmt: skip
        ask = "import socket; socket.create_connection(('ldap.carrel.test', 389), 1)"
        until(lambda: succeeds("docker", "exec", f"{site.name}-hub", "python3", "-c", ask), "the directory answers")
        yield site
    finally:
        site.down()


def log_in(site: HubSite, name: str, password: str) -> Any:
    with site.session() as hub:
        hub.login(name, password)
        return hub.user()


def test_listed_people_in_the_directory_get_in(site: HubSite) -> None:
    assert log_in(site, "ada", "ada-secret")["name"] == "ada"
    assert log_in(site, "bob", "bob-secret")["name"] == "bob"
    for name, password in (("ada", "bob-secret"), ("ada", ""), ("eve", "eve-secret"), ("nobody", "x"), ("*", "x")):
        began = time.monotonic()
        with pytest.raises(LoginError):
            log_in(site, name, password)
        if name != "eve":  # her password is right, and she is refused for another reason
            assert time.monotonic() - began >= 1
    assert '"eve"' not in site.in_hub("python3", "-m", "carrel_hub.database", "dump")


def test_a_group_of_the_directory_is_a_group_of_the_hub_with_mounts(site: HubSite) -> None:
    with site.session() as hub:
        hub.login("ada", "ada-secret")
        until(lambda: hub.user()["groups"] == ["statistics"], "the group is there")
        hub.spawn()
        mounts = run("docker", "inspect", "--format", "{{json .Mounts}}", site.container("ada"))
        assert "/home/jovyan/work/statistics" in mounts
        hub.stop()
    with site.session() as hub:
        hub.login("bob", "bob-secret")
        assert hub.user()["groups"] == []


def test_people_removed_from_the_list_lose_access(site: HubSite) -> None:
    with site.session() as hub:
        hub.login("bob", "bob-secret")
        bob = site.people.pop("bob")
        site.write()
        try:
            out = "the session ends"
            until(lambda: hub.request("GET", "api/user", check=False).status_code == 403, out)
            with pytest.raises(LoginError):
                log_in(site, "bob", "bob-secret")
        finally:
            site.people["bob"] = bob
            site.write()


def test_services_have_tokens_and_scopes_and_extra_config_is_used(site: HubSite) -> None:
    def ask(path: str, token: str) -> requests.Response:
        headers = {"Authorization": f"token {token}"}
        return requests.get(f"{site.url}hub/api/{path}", headers=headers, timeout=30)

    assert ask("users", "s" * 64).status_code == 200
    assert (ask("users", "p" * 64).status_code, ask("groups", "s" * 64).status_code) == (403, 403)
    assert "Exam on Friday" in requests.get(f"{site.url}hub/login", timeout=30).text
    may = {}
    for name in ("ada", "bob"):
        with site.session() as hub:
            hub.login(name, f"{name}-secret")
            token = hub.request("POST", f"api/users/{name}/tokens").json()["token"]
            may[name] = "access:services!service=page" in ask("user", token).json()["scopes"]
    assert may == {"ada": True, "bob": False}


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"server_address": "directory.uni.example"}, "directory.uni.example cannot be asked.*doesn't match any name"),
        ({"tls_kwargs": {}}, "cannot be asked.*certificate verify failed"),
        ({"server_port": 1}, "cannot be asked.*refused"),
        ({"lookup_dn_search_user": f"uid=eve,ou=people,{BASE}"}, "it refuses uid=eve"),
    ],
)
def test_a_directory_outage_is_shown_to_people_and_the_hub_keeps_running(
    site: HubSite, settings: dict[str, Any], says: str
) -> None:
    site.config["authenticator"] = authenticator(**settings)
    site.replace_hub()
    try:
        with pytest.raises(LoginError, match="directory of users cannot be asked"):
            log_in(site, "ada", "ada-secret")
        assert requests.get(f"{site.url}hub/health", timeout=10).status_code == 200
        assert re.search(says, site.log()), site.log()
    finally:
        site.config["authenticator"] = authenticator()
