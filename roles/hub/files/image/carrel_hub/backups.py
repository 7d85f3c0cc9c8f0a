# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A service of the hub: the page on which people see the backups of their home and bring files back.

The hub says who somebody is: each request has an OAuth token from it, which shows this service the name and nothing
else. Only the home of this user is read. Nothing in a request can name another user.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

from ansible_collections.carrel.jupyter.plugins.module_utils._shared.disk import size
from jinja2 import ChoiceLoader, Environment, FileSystemLoader, PrefixLoader
from jupyterhub._data import DATA_FILES_PATH
from jupyterhub.services.auth import HubOAuth, HubOAuthCallbackHandler, HubOAuthenticated
from tornado import httpserver, web

from . import disk
from .asking import Backups, Refused
from .files import DIRECTORY, read_json

PORT = 8082
CACHE_SECONDS = 10  # users' servers remember the hub's answer for as long
LONGEST_PATH = 4096
NO_PATH = "There is no such file or folder."
NO_SIZE = {"dir": "", "symlink": "link", "other": "special file"}


def shown(name: str) -> str:
    """Return a file's name as readable text on one line, whatever bytes it has."""
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return "".join(char if char.isprintable() else "\ufffd" for char in text)


def query(**values: Any) -> str:
    """Return a query string. It keeps all bytes of files' names."""
    return "&".join(f"{key}={quote(os.fsencode(str(value)), safe='')}" for key, value in values.items())


def read_query(text: str) -> tuple[str, list[str], int]:
    """Return the snapshot, the parts of the path, and the page. Raises Refused."""
    given = parse_qs(text, errors="surrogateescape")
    path = given.get("path", [""])[0]
    page = given.get("page", ["0"])[0]
    if len(path) > LONGEST_PATH or not (page.isascii() and page.isdecimal() and len(page) < 7):
        raise Refused(NO_PATH)
    return given.get("snapshot", [""])[0], [part for part in path.split("/") if part], int(page)


def crumbs(snapshot: str, parts: list[str]) -> Iterable[dict[str, str]]:
    """Yield the folders above, and last the one that is shown."""
    for number in range(len(parts) + 1):
        name = shown(parts[number - 1]) if number else "Home"
        yield {"name": name, "query": query(snapshot=snapshot, path="/".join(parts[:number]))}


def rows(snapshot: str, parts: list[str], entries: Iterable[Mapping[str, Any]]) -> Iterable[dict[str, Any]]:
    for entry in entries:
        kind = entry["type"]
        yield {
            "name": shown(str(entry["name"])),
            "folder": kind == "dir",
            "size": NO_SIZE[kind] if kind in NO_SIZE else size(int(entry["size"])),
            "modified": str(entry["modified"]),
            "query": query(snapshot=snapshot, path="/".join([*parts, str(entry["name"])])),
        }


class Page(HubOAuthenticated, web.RequestHandler):  # type: ignore[misc]  # JupyterHub has no types for mypy
    async def prepare(self) -> None:
        # Ask the hub once, here, without blocking. A later use of current_user would block all requests.
        await self.hub_auth.get_user(self, sync=False)

    def check_hub_user(self, model: dict[str, Any]) -> dict[str, Any] | None:
        found: dict[str, Any] | None = super().check_hub_user(model)
        return found if found and found["kind"] == "user" else None

    def set_default_headers(self) -> None:
        self.set_header("Content-Security-Policy", "frame-ancestors 'none'")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Referrer-Policy", "same-origin")
        self.set_header("Cache-Control", "no-store")

    @property
    def backups(self) -> Backups:
        found: Backups = self.settings["backups"]
        return found

    @property
    def user(self) -> str:
        return str(self.current_user["name"])

    def show(self, refused: str | None = None, **values: Any) -> None:
        host = str(self.hub_auth.hub_host)  # differs from this page's host if users have domains
        hub = f"{host}{self.hub_auth.hub_prefix}"
        user = SimpleNamespace(name=self.user, admin=False, json_escaped_name=script_text(self.user))
        self.finish(
            self.settings["templates"]
            .get_template("backups.html")
            .render(
                base_url=hub, prefix=f"{host}{self.settings['base_url']}", user=user, no_spawner_check=True,
                parsed_scopes=(),
                login_url=f"{hub}login", logout_url=f"{hub}logout", services=[], version_hash="",
                static_url=lambda path, include_version=True: f"{hub}static/{path}",
                here=self.settings["here"], xsrf=self.xsrf_token.decode(), xsrf_token="", refused=refused,
                work=self.backups.works.get(self.user), carrel_backups=self.settings["here"],
                carrel_disk=disk.notice(self.user), carrel_native=self.settings["native"], **values,
            )
        )  # fmt: skip

    def write_error(self, status_code: int, **_unused: Any) -> None:
        """Answer in few words, because no form of this page causes such errors."""
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(f"{status_code} {self._reason}\n")


class SnapshotsHandler(Page):
    @web.authenticated
    async def get(self) -> None:
        work = self.backups.works.get(self.user)
        if work and not work.ended:  # the page reloads every few seconds, and should not ask the host each time
            self.show(snapshots=None)
            return
        try:
            snapshots = await self.backups.snapshots(self.user)
        except Refused as refused:
            self.set_status(503)
            self.show(str(refused), snapshots=None)
            return
        self.show(snapshots=[{**each, "query": query(snapshot=each["id"], path="")} for each in snapshots])


class FolderHandler(Page):
    @web.authenticated
    async def get(self) -> None:
        try:
            snapshot, parts, page = read_query(self.request.query)
            found = await self.backups.folder(self.user, snapshot, parts, page)
        except Refused as refused:
            self.set_status(404)
            self.show(str(refused), snapshots=None)
            return
        here = query(snapshot=snapshot, path="/".join(parts))
        self.show(
            folder=found, query=here, page=page, crumbs=list(crumbs(snapshot, parts)),
            rows=list(rows(snapshot, parts, found["entries"])),
        )  # fmt: skip


class BringHandler(Page):
    @web.authenticated
    async def post(self) -> None:
        try:
            snapshot, parts, _unused = read_query(self.request.query)
            self.backups.bring(self.user, snapshot, parts, shown(parts[-1]) if parts else "your whole home")
        except Refused as refused:
            self.set_status(409)
            self.show(str(refused), snapshots=None)
            return
        self.redirect(self.settings["here"])


def script_text(text: str) -> str:
    """Escape text for a JavaScript string in a page."""
    return json.dumps(text)[1:-1].replace("<", "\\u003c")


def templates() -> Environment:
    """Return the hub's own templates, which can be extended as in the hub. All values are escaped."""
    theirs, ours = Path(DATA_FILES_PATH) / "templates", Path(__file__).parent / "templates"
    loader = ChoiceLoader(
        [
            PrefixLoader({"templates": FileSystemLoader(theirs)}, "/"),
            FileSystemLoader([DIRECTORY / "templates", ours, theirs]),
        ]
    )
    return Environment(loader=loader, autoescape=True)


def application(here: str, config: Mapping[str, Any], backups: Backups) -> web.Application:
    return web.Application(
        [
            (f"{here}", SnapshotsHandler),
            (f"{here}folder", FolderHandler),
            (f"{here}bring", BringHandler),
            (f"{here}oauth_callback", HubOAuthCallbackHandler),
        ],
        backups=backups, templates=templates(), here=here, base_url=config["base_url"],
        native=config["authenticator"]["type"] == "native", xsrf_cookies=True,
        # New at each start. The hub logs people in again without asking them.
        cookie_secret=secrets.token_bytes(32),
        # Requests contain names of people's files, so they are not logged.
        log_function=lambda handler: None,
    )  # fmt: skip


async def main() -> None:
    here = os.environ["JUPYTERHUB_SERVICE_PREFIX"]
    config = read_json(DIRECTORY / "config.json")
    HubOAuth.instance(cache_max_age=CACHE_SECONDS)
    server = httpserver.HTTPServer(application(here, config, Backups()), xheaders=True, max_body_size=2**16)
    at = urlsplit(os.environ["JUPYTERHUB_SERVICE_URL"])
    server.listen(at.port or PORT, at.hostname)
    await asyncio.Event().wait()


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="backups: %(message)s")
    asyncio.run(main())
