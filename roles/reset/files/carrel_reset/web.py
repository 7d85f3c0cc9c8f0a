# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests to the instance: straight to a server's port, and through Apache."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import urllib.parse

LOCAL = "127.0.0.1"


class _Local:
    """A connection that leads to this host, whatever the URL's name leads to."""

    host: str
    port: int

    def _connected(self, timeout: float) -> socket.socket:
        return socket.create_connection((LOCAL, self.port), timeout)


class _Http(_Local, http.client.HTTPConnection):
    def connect(self) -> None:
        self.sock = self._connected(self.timeout or 10)


class _Https(_Local, http.client.HTTPSConnection):
    def connect(self) -> None:
        # The certificate is not what is asked about: it may be one for trials, or expired.
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        self.sock = context.wrap_socket(self._connected(self.timeout or 10), server_hostname=self.host)


def get(url: str, timeout: float = 5, headers: dict[str, str] | None = None) -> tuple[int, str]:
    """The status and the text of what this host answers; redirects are not followed. No answer is an OSError."""
    parts = urllib.parse.urlsplit(url)
    kind = _Https if parts.scheme == "https" else _Http
    connection = kind(parts.hostname or LOCAL, parts.port, timeout=timeout)
    try:
        connection.request("GET", parts.path or "/", headers=headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read(4 * 1024 * 1024).decode("utf-8", "replace")
    except http.client.HTTPException as error:
        raise OSError(f"{url}: {type(error).__name__}: {error}") from error
    finally:
        connection.close()


def version(url: str, timeout: float = 5) -> str | None:
    """The version that jupyter_server or JupyterHub tells at `url`, its API's root; None if it does not."""
    try:
        status, text = get(url, timeout)
        return str(json.loads(text)["version"]) if status == 200 else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def local(port: int, base_url: str, path: str) -> str:
    return f"http://{LOCAL}:{port}{base_url}{path}"
