# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests to a server on this machine that answers in JSON. Somebody else may control it."""

from __future__ import annotations

import json
from typing import Any

from . import web


class ApiError(Exception):
    """There was no answer, or an unexpected one; `status` is the HTTP status, if any."""

    def __init__(self, text: str, status: int | None = None) -> None:
        super().__init__(text)
        self.status = status


class Api:
    """An API below a URL. Each request sends the token, but never to another place: redirects are not followed."""

    def __init__(self, url: str, token: str, seconds: float = 30, host: str = "") -> None:
        """HOST is what the server is called, if it is not the URL's own name."""
        self.url = url
        self.seconds = seconds
        self._headers = {**({"Authorization": f"token {token}"} if token else {}), **({"Host": host} if host else {})}

    def call(self, method: str, path: str, accept: str = "application/json") -> Any:
        """Return the answer's JSON, None for an empty answer. Raises ApiError."""
        body = self._ask(method, path, accept)
        return self._json(path, body) if body else None

    def last_event(self, path: str) -> Any:
        """Return the JSON of the last event of a stream."""
        lines = self._ask("GET", path, "text/event-stream").splitlines()
        events = [line[5:] for line in lines if line.startswith(b"data:")]
        return self._json(path, events[-1] if events else b"")

    def _json(self, path: str, text: bytes) -> Any:
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ApiError(f"{self.url}{path} answers with something else than JSON") from error

    def _ask(self, method: str, path: str, accept: str) -> bytes:
        url = self.url + path
        try:
            status, content = web.ask(url, self.seconds, method, {**self._headers, "Accept": accept})
        except (OSError, ValueError) as error:  # ValueError: a token or URL that cannot be sent in a header
            raise ApiError(f"{url} does not answer: {error}") from error
        if not 200 <= status < 300:
            raise ApiError(f"{url} answers {status}{_told(content)}", status)
        return content


def _told(content: bytes) -> str:
    """The message that JupyterHub and jupyter_server send with the status."""
    try:
        message = json.loads(content)["message"]
    except (ValueError, RecursionError, KeyError, TypeError):
        return ""
    return f": {message}" if message else ""
