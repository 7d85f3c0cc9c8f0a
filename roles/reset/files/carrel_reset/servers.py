# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The servers of a hub's users, through the hub's API and their own."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import json
import os
import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from . import files
from .api import Api, ApiError
from .lab import at_work
from .state import sync_directory, write_all
from .web import LOCAL

PAGE = 200
POLL_SECONDS = 0.5
STOP_SECONDS = 120
CROWDED_SECONDS = 5  # until the next try, if too many servers are starting
ASK_SECONDS = 15


class ServerError(Exception):
    """A user's server did not stop or start; the text says whose and why."""


@dataclasses.dataclass(frozen=True)
class Server:
    """A running server of a user."""

    user: str
    container: str  # id
    image: str  # its tag in the hub's config.json
    image_id: str
    host: str  # of its URL, if the hub gives each user a domain, otherwise empty
    path: str  # of its URL
    token: str  # the server's own token, which it may see


class HubApi:
    """The hub's API with the token of the service reset."""

    def __init__(self, port: int, base_url: str, token: str, start_seconds: int) -> None:
        """START_SECONDS is how long the hub itself waits for a server."""
        self._api = Api(f"http://{LOCAL}:{port}{base_url}hub/api", token, 60)
        self._start_seconds = start_seconds

    def active(self) -> dict[str, dict[str, Any]]:
        """The models of the servers that run, start or stop, by their users."""
        return {user["name"]: user["servers"][""] for user in self._users() if user["servers"].get("")}

    def _users(self) -> Iterator[dict[str, Any]]:
        offset: int | None = 0
        while offset is not None:
            path = f"/users?state=active&sort=name&limit={PAGE}&offset={offset}"
            page = self._api.call("GET", path, "application/jupyterhub-pagination+json")
            yield from page["items"]
            following = page["_pagination"]["next"]
            offset = following["offset"] if following else None

    def stop(self, user: str) -> None:
        """Stop a server and wait until it is gone. Raises ServerError and ApiError."""
        end = time.monotonic() + STOP_SECONDS
        try:
            self._api.call("DELETE", f"{_path(user)}/server")
        except ApiError as error:
            if error.status != 404:  # the user is gone, and the server, too
                raise
        while self._server(user):
            if time.monotonic() > end:
                raise ServerError(f"the server of {user} did not stop within {STOP_SECONDS} s")
            time.sleep(POLL_SECONDS)

    def start(self, user: str) -> None:
        """Start a server with the user's last choices, unless it runs, and wait until it is ready. Raises as stop."""
        end = time.monotonic() + self._start_seconds
        asked = False
        while True:
            server = self._server(user)
            if server and server["ready"]:
                return
            if time.monotonic() > end:
                raise ServerError(f"the server of {user} was not ready within {self._start_seconds} s")
            if not server:
                if asked:
                    raise ServerError(f"the server of {user} does not start: {self._reason(user)}")
                try:
                    self._api.call("POST", f"{_path(user)}/server")
                    asked = True
                except ApiError as error:
                    if error.status == 404:
                        return
                    if error.status == 429:
                        time.sleep(CROWDED_SECONDS)
                    elif error.status != 400:  # somebody else has just started it, or is stopping it
                        raise ServerError(f"the server of {user} does not start: {error}") from error
            time.sleep(POLL_SECONDS)

    def _server(self, user: str) -> dict[str, Any] | None:
        try:
            model = self._api.call("GET", _path(user))
        except ApiError as error:
            if error.status == 404:
                return None
            raise
        found: dict[str, Any] | None = model["servers"].get("")
        return found

    def _reason(self, user: str) -> str:
        try:
            return str(self._api.last_event(f"{_path(user)}/server/progress")["message"])
        except (ApiError, KeyError, TypeError):
            return "see the hub's log"


def _path(user: str) -> str:
    return f"/users/{quote(user, safe='')}"


def busy(server: Server, port: int) -> bool:
    """Whether somebody is at work there. If this cannot be read, it counts as work.

    The user may have replaced the server, so it is sent nothing but its own token.
    """
    api = Api(f"http://{LOCAL}:{port}{server.path}", server.token, ASK_SECONDS, server.host)
    try:
        kernels = api.call("GET", "api/kernels?no_track_activity=1")
        try:
            terminals = api.call("GET", "api/terminals?no_track_activity=1")
        except ApiError as error:
            if error.status != 404:
                raise
            terminals = []  # the image has no terminals
        activity = {"kernels": kernels, "terminals": terminals}
        return bool(at_work(activity, datetime.datetime.now(datetime.timezone.utc)))
    except (ApiError, AttributeError, KeyError, TypeError, ValueError):
        return True


class Unfinished:
    """A file with the users whose servers must start again, so that the next reset can complete a killed one.

    Several threads use it. If the file cannot be written, as on a full disk, servers are renewed all the same.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = threading.Lock()
        self.users: list[str] = self._read()

    def _read(self) -> list[str]:
        try:
            return [user for user in json.loads(files.read(self._path))["users"] if isinstance(user, str)]
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return []

    def add(self, user: str) -> None:
        with self._lock:
            self.users = sorted({*self.users, user})
            self._write()

    def remove(self, user: str) -> None:
        with self._lock:
            self.users = [other for other in self.users if other != user]
            self._write()

    def _write(self) -> None:
        with contextlib.suppress(OSError):
            if not self.users:
                os.unlink(self._path)
                return
            fresh = f"{self._path}.new"
            descriptor = files.open_to_write(fresh, os.O_CREAT | os.O_TRUNC)
            try:
                write_all(descriptor, json.dumps({"users": self.users}).encode())
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            os.rename(fresh, self._path)
            sync_directory(os.path.dirname(self._path))
