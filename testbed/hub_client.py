# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A person at a JupyterHub, without a browser: logs in, starts a server, works in it, stops it."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from types import TracebackType
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

import requests

from testbed.patience import PATIENCE, until

from .client import Lab, LoginError, session

FIELD = re.compile(r'<input\b[^>]*\bname="([^"]+)"[^>]*\bvalue="([^"]*)"')
REFUSAL = re.compile(r'class="(?:login_error|alert[^"]*)"[^>]*>(.*?)</(?:p|div)>', re.DOTALL)


class SpawnError(Exception):
    """The hub did not start the server; the text is what it told the user."""


class Hub:
    """A session at a hub; use it as a context manager."""

    def __init__(self, url: str, verify: str | bool = True, timeout: float = PATIENCE) -> None:
        self.url = url if url.endswith("/") else url + "/"
        self.timeout = timeout
        self.username = ""
        self.http = session(verify)

    def __enter__(self) -> Hub:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.http.close()

    def login(self, username: str, password: str, page: str = "login") -> Hub:
        """Log in with the form on a page; raise LoginError with the page's words when that is refused."""
        self._submit(page, username=username, password=password)
        answer = self.request("GET", "api/user", check=False)
        if answer.status_code != 200:
            raise LoginError(f"{self.url}hub/{page} let {username} in, but hub/api/user says {answer.status_code}")
        self.username = answer.json()["name"]
        return self

    def sign_up(self, username: str, password: str, invitation: str = "") -> str:
        """Ask for an account with the native authenticator; return what the page answers."""
        return self._submit(
            "signup", username=username, invitation=invitation, new_password=password,
            new_password_confirmation=password,
        )  # fmt: skip

    def decide(self, username: str, action: str) -> str:
        """Approve or discard an account, or withdraw approval, as an admin; return the page that follows."""
        return self.request("POST", "authorize", data={"name": username, "action": action}).text

    def invitations(self) -> dict[str, str]:
        """The codes with which people who are listed sign up, for an admin."""
        return dict(
            re.findall(
                r"<td>([^<,]+)(?:, an admin)?</td>\s*<td><code>([^<]+)</code>", self.request("GET", "authorize").text
            )
        )

    def change_password(self, old: str, new: str) -> str:
        """Change one's own password with the native authenticator; return what the page answers."""
        return self._submit("change-password", old_password=old, new_password=new, new_password_confirmation=new)

    def logout(self) -> None:
        """Log out."""
        self.request("GET", "logout")

    def request(self, method: str, path: str, *, check: bool = True, **arguments: Any) -> requests.Response:
        """Send a request below the site's URL and /hub/, with the XSRF header that the hub asks for."""
        arguments.setdefault("timeout", self.timeout)
        # Users' servers have tokens of their own, below other paths.
        token = self.http.cookies.get("_xsrf", path=urlsplit(self.url).path + "hub/") or ""
        answer = self.http.request(method, f"{self.url}hub/{path}", headers={"X-XSRFToken": token}, **arguments)
        if check:
            answer.raise_for_status()
        return answer

    def user(self, username: str | None = None) -> dict[str, Any]:
        """What the hub knows of a user: groups, servers and so on."""
        model: dict[str, Any] = self.request("GET", self._api(username)).json()
        return model

    def users(self) -> list[str]:
        """The names of up to 200 users, for an admin."""
        return [user["name"] for user in self.request("GET", "api/users", params={"limit": 200}).json()]

    def start(self, username: str | None = None, **options: Any) -> None:
        """Ask for a server and return at once; OPTIONS are the spawn form's, such as image."""
        answer = self.request("POST", f"{self._api(username)}/server", json=options, check=False)
        if answer.status_code not in (201, 202):
            raise SpawnError(_told(answer))

    def progress(self, username: str | None = None) -> Iterator[dict[str, Any]]:
        """What the hub says of a start, until the server is ready or failed."""
        with self.request("GET", f"{self._api(username)}/server/progress", stream=True, check=False) as answer:
            if answer.status_code != 200:
                raise SpawnError(_told(answer))
            for line in answer.iter_lines(chunk_size=1):
                if line.startswith(b"data:"):
                    yield json.loads(line[5:])

    def wait(self, username: str | None = None) -> None:
        """Return once the server is ready."""
        last: dict[str, Any] = {}
        for last in self.progress(username):
            if last.get("ready"):
                return
        raise SpawnError(str(last.get("message", "the hub ended its report without a word")))

    def spawn(self, username: str | None = None, **options: Any) -> Lab:
        """Start a server, wait for it and go there."""
        self.start(username, **options)
        self.wait(username)
        return self.lab(username)

    def lab(self, username: str | None = None) -> Lab:
        """Go to a server that runs, one's own or, as an admin, somebody else's."""
        url = f"{self.url}user/{quote(username or self.username, safe='@~')}/"
        answer = self.http.get(url, timeout=self.timeout)
        if "/hub/api/oauth2/authorize" in answer.url:
            # The hub asks whether one wants to go to somebody else's server.
            form, headers = _fields(answer.text), {"Referer": answer.url}
            answer = self.http.post(answer.url, data=form, headers=headers, timeout=self.timeout)
        url = urljoin(answer.url, urlsplit(url).path)  # where users have domains, another host
        lab = Lab(url, self.http.verify, self.timeout)
        for cookie in self.http.cookies:
            # Lab sends all cookies that it has, so it gets those that a browser would send there.
            if urlsplit(url).path.startswith(cookie.path):
                lab.http.cookies.set_cookie(cookie)
        status = lab.request("GET", "api/status", check=False, allow_redirects=False).status_code
        if status != 200:
            raise LoginError(f"{url}api/status answers {self.username} with {status}")
        return lab

    def stop(self, username: str | None = None) -> None:
        """Stop the server, if there is one, and wait until it is gone."""
        if self.user(username)["servers"]:
            self.request("DELETE", f"{self._api(username)}/server")
        what = f"the server of {username or self.username} stops"
        until(lambda: not self.user(username)["servers"], what, self.timeout)

    def _api(self, username: str | None) -> str:
        return f"api/users/{quote(username or self.username)}"

    def _submit(self, page: str, **fields: str) -> str:
        """Fill in a form of the hub and return what it says to that."""
        shown = self.request("GET", page, check=False)
        form = _fields(shown.text)
        if "_xsrf" not in form or 'type="password"' not in shown.text:
            raise LoginError(f"{self.url}hub/{page} shows no form (status {shown.status_code})")
        answer = self.http.post(
            f"{self.url}hub/{page}",
            data={"_xsrf": form["_xsrf"], **fields},
            timeout=self.timeout,
            allow_redirects=False,
        )
        refusal = REFUSAL.search(answer.text)
        said = html.unescape(re.sub(r"\s+", " ", re.sub("<[^>]*>", "", refusal[1]))).strip() if refusal else ""
        if page.rpartition("/")[2] == "login" and answer.status_code != 302:
            raise LoginError(f"{self.url}hub/{page} refused {fields['username']}: {answer.status_code} {said}")
        return said


def _fields(page: str) -> dict[str, str]:
    """The fields that a form has filled in already."""
    return {html.unescape(name): html.unescape(value) for name, value in FIELD.findall(page)}


def _told(answer: requests.Response) -> str:
    try:
        return str(answer.json()["message"])
    except (ValueError, KeyError):
        return f"{answer.url} answered {answer.status_code}"
