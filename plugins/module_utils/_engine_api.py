# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Docker's Engine API over its socket: one connection for many calls, each of which would be a docker command."""

from __future__ import annotations

import http.client
import json
import socket
from typing import Any
from urllib.parse import urlencode

TIMEOUT = 60


class EngineError(Exception):
    """The engine refused a call."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class EngineAPI:
    """An engine behind a socket."""

    def __init__(self, path: str, timeout: float = TIMEOUT) -> None:
        self.path = path
        self._connection = _Connection(path, timeout)

    def call(self, method: str, path: str, body: Any = None, **filters: list[str]) -> Any:
        """The answer; the engine's own complaint as an EngineError."""
        query = "?" + urlencode({"all": "1", "filters": json.dumps(filters)}) if filters else ""
        try:
            self._connection.request(
                method,
                path + query,
                None if body is None else json.dumps(body),
                {"Content-Type": "application/json"},
            )
            answer = self._connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise EngineError(0, f"the engine at {self.path} does not answer: {error}. Is it running?") from error
        content = json.loads(text) if text else None
        if answer.status >= 400:
            raise EngineError(answer.status, str(content["message"] if content else answer.reason))
        return content
