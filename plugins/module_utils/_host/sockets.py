# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Connect to servers that may belong to anybody. One deadline covers all reads of an answer.

A socket's own timeout is for each single read, so a slow answer could go on for ever.
"""

from __future__ import annotations

import socket
import ssl
import time
from typing import Any


class _Patient:
    end = 0.0  # of time.monotonic

    def recv_into(self, *arguments: Any) -> int:
        left = self.end - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        self.settimeout(left)  # type: ignore[attr-defined]
        received: int = super().recv_into(*arguments)  # type: ignore[misc]
        return received


class Plain(_Patient, socket.socket):
    """A connection. Set `end` again for the next answer."""


class Encrypted(_Patient, ssl.SSLSocket):
    pass


def connect(family: int, address: Any, end: float) -> Plain:
    """Connect to an address, or to the path of a socket."""
    connection = Plain(family, socket.SOCK_STREAM)
    connection.end = end
    try:
        connection.settimeout(max(end - time.monotonic(), 0.1))
        connection.connect(address)
    except OSError:
        connection.close()
        raise
    return connection


def encrypt(connection: Plain, context: ssl.SSLContext, name: str) -> ssl.SSLSocket:
    """Start TLS on the connection, with the same deadline."""
    context.sslsocket_class = Encrypted
    encrypted = context.wrap_socket(connection, server_hostname=name)
    encrypted.end = connection.end  # type: ignore[attr-defined]
    return encrypted
