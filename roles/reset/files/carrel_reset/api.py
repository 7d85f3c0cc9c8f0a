# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests to a server on this machine that answers in JSON, which somebody else may control."""

from __future__ import annotations

import http.client
import json
import time
import urllib.error
import urllib.request
from email.message import Message
from typing import IO, Any

LONGEST = 4 * 2**20  # bytes of an answer


class ApiError(Exception):
    """No answer, or not the wanted one; `status` is the HTTP status, if there was one."""

    def __init__(self, text: str, status: int | None = None) -> None:
        super().__init__(text)
        self.status = status


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A person's server must not send this program, and its token, elsewhere."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> None:
        return None


# Without the environment's proxies: all that is asked is on the loopback address.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect())


class Api:
    """An API below a URL; a token is sent with each request."""

    def __init__(self, url: str, token: str, seconds: float = 30) -> None:
        self.url = url
        self.seconds = seconds
        self._headers = {"Authorization": f"token {token}"} if token else {}

    def call(self, method: str, path: str, accept: str = "application/json") -> Any:
        """Return what the answer's JSON says, None for an empty one. Raises ApiError."""
        body = self._ask(method, path, accept)
        return self._json(path, body) if body else None

    def last_event(self, path: str) -> Any:
        """Return the JSON of a stream's last event."""
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
        request = urllib.request.Request(url, headers={**self._headers, "Accept": accept}, method=method)  # noqa: S310 - http
        try:
            with _OPENER.open(request, timeout=self.seconds) as answer:
                return self._read(answer)
        except urllib.error.HTTPError as error:
            with error:
                raise ApiError(f"{url} answers {error.code}{_told(error)}", error.code) from error
        except (OSError, http.client.HTTPException) as error:  # URLError is an OSError
            raise ApiError(f"{url} does not answer: {getattr(error, 'reason', error)}") from error

    def _read(self, answer: http.client.HTTPResponse) -> bytes:
        """A socket's timeout is for each read, and so does not end an answer that comes in drops."""
        body = b""
        deadline = time.monotonic() + self.seconds
        while part := answer.read1(2**16):
            body += part
            if len(body) > LONGEST:
                raise OSError("its answer is too long")
            if time.monotonic() > deadline:
                raise OSError("its answer takes too long")
        return body


def _told(error: urllib.error.HTTPError) -> str:
    """What JupyterHub and jupyter_server say besides the status."""
    try:
        message = json.loads(error.read1(2**16))["message"]
    except (OSError, http.client.HTTPException, ValueError, RecursionError, KeyError, TypeError):
        return ""
    return f": {message}" if message else ""
