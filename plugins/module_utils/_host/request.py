# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Send one request to a site through the web server of its host."""

from __future__ import annotations

import http.client
import socket
import ssl
import time

from ansible_collections.carrel.jupyter.plugins.module_utils._host import sockets
from ansible_collections.carrel.jupyter.plugins.module_utils._site.health import Seen, Target


def ask(target: Target, connect_to: str, timeout: float, validate: bool) -> Seen:
    """Return the answer, which must be complete within TIMEOUT seconds."""
    connection = http.client.HTTPConnection(target.host, target.port)
    certificate = b""
    try:
        plain = _connect(connect_to, target.port, time.monotonic() + timeout)
        connection.sock = plain
        if target.tls:
            context = ssl.create_default_context()
            if not validate:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            encrypted = sockets.encrypt(plain, context, target.host)
            certificate = encrypted.getpeercert(binary_form=True) or b""
            connection.sock = encrypted
        connection.request("GET", target.path, headers={"Host": target.host_header, "Connection": "close"})
        response = connection.getresponse()
        return Seen(status=response.status, body=response.read(65536), certificate=certificate)
    except ConnectionRefusedError:
        return Seen(error="connection refused", kind="refused")
    except ssl.SSLError as error:
        return Seen(error=f"TLS error: {error}", kind="tls")
    except TimeoutError:
        return Seen(error=f"no answer within {timeout:.0f} s", kind="timeout", certificate=certificate)
    except (OSError, http.client.HTTPException) as error:
        return Seen(error=str(error) or type(error).__name__, kind="other", certificate=certificate)
    finally:
        connection.close()


def _connect(host: str, port: int, end: float) -> sockets.Plain:
    """Connect to the first address that answers."""
    failure: OSError = OSError(f"{host} has no address")
    for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        try:
            return sockets.connect(found[0], found[4], end)
        except OSError as error:
            failure = error
    raise failure
