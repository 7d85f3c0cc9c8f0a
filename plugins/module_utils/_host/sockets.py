# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Connections to servers that may belong to anybody: all reads of an answer have one deadline.

A socket's timeout is for each read alone, and lets an answer that comes in drops go on for ever.
"""

from __future__ import annotations

import socket
import ssl
import time
from typing import Any


class _Patient:
    end = 0.0  # by time.monotonic

    def recv_into(self, *arguments: Any) -> int:
        left = self.end - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        self.settimeout(left)  # type: ignore[attr-defined]
        received: int = super().recv_into(*arguments)  # type: ignore[misc]
        return received


class Plain(_Patient, socket.socket):
    """`end` may be moved: for the next answer on the same connection."""


class Encrypted(_Patient, ssl.SSLSocket):
    pass


def connect(family: int, address: Any, end: float) -> Plain:
    """A connection to an address, or to the path of a socket."""
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
    """TLS on the connection, with the same deadline."""
    context.sslsocket_class = Encrypted
    encrypted = context.wrap_socket(connection, server_hostname=name)
    encrypted.end = connection.end  # type: ignore[attr-defined]
    return encrypted
