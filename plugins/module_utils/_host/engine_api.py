# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Call Docker's Engine API over its socket: one connection for many calls, instead of many docker commands.

The socket belongs to the engine's account, so answers may be slow, endless or nonsense, and a link may be in its place.
"""

from __future__ import annotations

import http.client
import json
import math
import os
import socket
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from ansible_collections.carrel.jupyter.plugins.module_utils._host import engine_socket, sockets
from ansible_collections.carrel.jupyter.plugins.module_utils._report import printable
from ansible_collections.carrel.jupyter.plugins.module_utils._shared.told import Told

TIMEOUT = 60
LONGEST = 32 * 2**20  # bytes of an answer; a list of containers has 5,000 for each


class EngineError(Told):
    """The engine refused a call."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(printable.text(message[: printable.LONGEST]))
        self.status = status


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost")
        self.path, self.end = path, 0.0

    def connect(self) -> None:
        descriptor = engine_socket.opened(self.path)
        try:
            self.sock = sockets.connect(socket.AF_UNIX, engine_socket.through(descriptor), self.end)
        finally:
            os.close(descriptor)


class EngineAPI:
    """An engine behind a socket. A call takes at most TIMEOUT seconds, all take TOTAL; an answer has LONGEST bytes."""

    def __init__(
        self, path: str, timeout: float = TIMEOUT, total: float = math.inf, longest: int | None = None
    ) -> None:
        self.path = path
        self._longest = LONGEST if longest is None else longest
        self._timeout, self._end = timeout, time.monotonic() + total
        self._connection = _Connection(path)

    def call(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None, **filters: list[str]
    ) -> Any:
        """Return the answer. Raises an EngineError with the engine's own complaint."""
        query = "?" + urlencode({"all": "1", "filters": json.dumps(filters)}) if filters else ""
        try:
            status, reason, text = self._ask(method, path + query, None if body is None else json.dumps(body), headers)
        except engine_socket.ForeignSocketError as error:
            raise EngineError(0, str(error)) from error
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise EngineError(0, f"the engine at {self.path} does not answer: {error}. Is it running?") from error
        if len(text) > self._longest:
            self._connection.close()
            raise EngineError(0, f"the engine at {self.path} does not answer: it sends more than {self._longest} bytes")
        try:
            content = json.loads(text) if text else None
            if status >= 400:
                raise EngineError(status, str(content["message"] if content else reason))
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            raise EngineError(0, f"the engine at {self.path} does not answer as Docker does") from error
        return content

    def _ask(
        self, method: str, path: str, body: str | None, headers: Mapping[str, str] | None
    ) -> tuple[int, str, bytes]:
        connection = self._connection
        connection.end = min(time.monotonic() + self._timeout, self._end)
        if isinstance(connection.sock, sockets.Plain):
            connection.sock.end = connection.end
        connection.request(method, path, body, {"Content-Type": "application/json", **(headers or {})})
        answer = connection.getresponse()
        return answer.status, answer.reason, answer.read(self._longest + 1)
