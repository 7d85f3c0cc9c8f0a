# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A guest of an organization, from the log-in until he leaves it. GitHub is out of reach: github.py is in its place."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import hub_image
import pytest
import requests
from hub_site import HubSite
from module_runner import open_to_all

from testbed.hub_client import Hub
from testbed.patience import PATIENCE, until
from testbed.run import run, succeeds


class GitHubSite(HubSite):
    def start_hub(self, *extra: str) -> None:
        super().start_hub("--env", "GITHUB_HOST=github:9000", "--env", "GITHUB_HTTP=1", *extra)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitHubSite]:
    folder = open_to_all(tmp_path_factory.mktemp("github"))
    own: dict[str, object] = {"guests": False, "settings": {}, "secret_settings": []}
    authenticator = {"type": "github", "client_id": "hub", "allowed_organizations": ["uni"], **own}
    site = GitHubSite(folder, f"carrel-github-{os.getpid()}", (hub_image.build(), "none"), authenticator=authenticator)
    site.secrets["client_secret"] = "of-the-hub"
    organization = folder / "github" / "uni"
    organization.mkdir(parents=True)
    (organization / "bob").touch()
    shutil.copy(Path(__file__).parent / "github.py", folder / "github")
    try:
        site.up()
        run(
            "docker", "run", "--detach", "--name", f"{site.name}-github", "--network", f"{site.name}_users",
            "--network-alias", "github", "--volume", f"{folder}/github:/github:ro", site.hub_image,
            "python3", "/github/github.py",
        )  # fmt: skip
        ask = "import socket; socket.create_connection(('github', 9000), 1)"
        until(lambda: succeeds("docker", "exec", f"{site.name}-hub", "python3", "-c", ask), "it answers")
        yield site
    finally:
        site.down()


def log_in(session: Hub) -> int:
    """As a browser that GitHub sends back at once."""
    sent = session.request("GET", "oauth_login", allow_redirects=False).headers["Location"]
    state = parse_qs(urlsplit(sent).query)["state"][0]
    return session.request("GET", "oauth_callback", params={"code": "x", "state": state}, check=False).status_code


def forget_when_github_was_asked(site: GitHubSite) -> None:
    """In place of five minutes' waiting."""
    path = site.folder / "state" / "identities.json"
    known = json.loads(path.read_text())
    known["bob"]["member_at"] -= 600
    path.write_text(json.dumps(known))


def test_a_guest_who_leaves_the_organization_loses_sessions_and_tokens(site: GitHubSite) -> None:
    def asks(token: str) -> int:
        headers = {"Authorization": f"token {token}"}
        return requests.get(f"{site.url}hub/api/user", headers=headers, timeout=PATIENCE).status_code

    def enters() -> bool:
        return session.request("GET", "api/user", check=False).status_code == 200

    with site.session() as session:
        log_in(session)
        assert enters() and session.user("bob")["name"] == "bob"
        token = session.request("POST", "api/users/bob/tokens", json={}).json()["token"]
        with sqlite3.connect(site.folder / "state" / "jupyterhub.sqlite") as database:
            kept = database.execute("select encrypted_auth_state from users where name = 'bob'").fetchone()[0]
        assert kept and b"of-bob" not in kept, "the token of GitHub's is encrypted"
        site.replace_hub()
        forget_when_github_was_asked(site)
        assert asks(token) == 200 and enters(), "also after a restart"
        (site.folder / "github" / "uni" / "bob").unlink()
        assert asks(token) == 200, "GitHub was asked just now"
        # a hub that was restarted has asked nobody
        site.replace_hub()
        forget_when_github_was_asked(site)
        assert asks(token) == 403 and not enters()
        assert log_in(session) == 403
        (site.folder / "github" / "uni" / "bob").touch()
        assert log_in(session) != 403 and enters() and asks(token) == 403, "old tokens stay invalid"
