# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A hub behind Apache, with a domain for each user or without."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import requests
from apache_front import apache, names_below, vhost
from hub_site import HubSite, person
from playwright.sync_api import BrowserContext, Page

from testbed.hub_client import Hub
from testbed.patience import PATIENCE


class Site:
    """Its hub has the people of PASSWORDS. Change what it has, then start it with `up`, and show it with `shown`."""

    def __init__(
        self, folder: Path, name: str, images: tuple[str, str], url: str, passwords: dict[str, str], domains: bool
    ) -> None:
        self.url, self.passwords = url, passwords
        self.hub = HubSite(folder, name, images, url=url, user_domains=domains, sharing=domains, backups=True)
        self.hub.people = {user: person(user) for user in passwords}
        self.hub.passwords = dict(passwords)
        self.certificate = ""

    @property
    def authority(self) -> str:
        return self.url.partition("://")[2].rstrip("/")

    def host(self, user: str) -> str:
        """Where a user's server is, without a path."""
        below = f"{user}." if self.hub.config["user_domains"] else ""
        return self.url.replace("://", f"://{below}").rstrip("/")

    def session(self, user: str) -> Hub:
        hub = Hub(self.url, self.certificate)
        return hub.login(user, self.passwords[user])

    def get(self, name: str, path: str, **more: str) -> requests.Response:
        """What Apache answers at a name, whatever the name is."""
        headers = {"Host": f"{name}:{self.authority.partition(':')[2]}", **more}
        return requests.get(
            f"https://{self.authority}{path}", headers=headers, verify=self.certificate, timeout=PATIENCE,
            allow_redirects=False,
        )  # fmt: skip

    def log_in(self, browser: BrowserContext, user: str, path: str = "") -> Page:
        """Return a page that has gone to PATH of the hub by way of the log-in."""
        page = browser.new_page()
        page.goto(f"{self.url}{path}")
        page.locator("input[name=username]").fill(user)
        page.locator("input[name=password]").fill(self.passwords[user])
        page.locator("input[name=password]").press("Enter")
        return page


@contextlib.contextmanager
def shown(front: Path, port: int, *sites: Site) -> Iterator[None]:
    """Run Apache in front of the sites."""
    vhosts = []
    for site in sites:
        domain = site.authority.partition(":")[0]
        site.certificate = f"{front}/{domain}.crt"
        entry = {
            "name": domain.partition(".")[0], "kind": "hub", "url": site.url, "tls": "selfsigned",
            "image": site.hub.config["images"][0]["image"], "users": ["ada"],
            "user_domains": site.hub.config["user_domains"],
        }  # fmt: skip
        vhosts.append(vhost(entry, site.hub.port))
    names = [site.authority.partition(":")[0] for site in sites]
    with apache(front, f"{sites[0].hub.name}-apache", port, vhosts), names_below(*names):
        yield
