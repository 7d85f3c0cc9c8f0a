# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests to the instance: directly to a server's port, and through Apache. Anybody may answer."""

from __future__ import annotations

import http.client
import json
import os
import socket
import ssl
import time
import urllib.parse

from . import listeners, sockets

LOCAL = "127.0.0.1"
LONGEST = 4 * 2**20  # bytes of an answer


def ask(url: str, seconds: float, method: str = "GET", headers: dict[str, str] | None = None) -> tuple[int, bytes]:
    """Ask this host, whatever the URL's name resolves to; return the status and the content.

    Redirects are not followed. If there is no answer, or it is too long or too slow, this raises OSError.
    """
    parts = urllib.parse.urlsplit(url)
    secure = parts.scheme == "https"
    connection = http.client.HTTPConnection(parts.hostname or LOCAL, parts.port or (443 if secure else 80))
    end = time.monotonic() + seconds
    try:
        connection.sock = _connect(connection.host, connection.port, secure, end)
        if connection.host == LOCAL:
            prove(connection.port)
        target = parts.path or "/"
        connection.request(method, f"{target}?{parts.query}" if parts.query else target, headers=headers or {})
        answer = connection.getresponse()
        content = answer.read(LONGEST + 1)
    except TimeoutError as error:
        raise TimeoutError(f"{url}: the answer takes too long") from error
    except http.client.HTTPException as error:
        raise OSError(f"{url}: {type(error).__name__}: {error}") from error
    finally:
        connection.close()
    if len(content) > LONGEST:
        raise OSError(f"{url}: the answer is too long")
    return answer.status, content


def _connect(name: str, port: int, secure: bool, end: float) -> socket.socket:
    plain = sockets.connect(socket.AF_INET, (LOCAL, port), end)
    if not secure:
        return plain
    try:
        # The certificate does not matter here: it may be self-signed, or expired.
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return sockets.encrypt(plain, context, name)
    except OSError:
        plain.close()
        raise


def prove(port: int) -> None:
    """Raise OSError if somebody else has the instance's port: nothing may be sent there, least of all a token.

    This program runs as the engine's account, and so does the engine, which must be the one that listens.
    """
    if problem := listeners.taken(port, os.getuid(), listeners.read_tables()):
        raise OSError(problem)


def get(url: str, timeout: float = 5, headers: dict[str, str] | None = None) -> tuple[int, str]:
    """The status and the text of this host's answer."""
    status, content = ask(url, timeout, headers=headers)
    return status, content.decode("utf-8", "replace")


def version(url: str, timeout: float = 5) -> str | None:
    """The version of jupyter_server or JupyterHub, from `url`, its API's root; None if there is none."""
    try:
        status, text = get(url, timeout)
        return str(json.loads(text)["version"]) if status == 200 else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def local(port: int, base_url: str, path: str) -> str:
    return f"http://{LOCAL}:{port}{base_url}{path}"
