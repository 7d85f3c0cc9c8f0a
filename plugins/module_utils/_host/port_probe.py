# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test which ports an account without rights can bind, because only the kernel's answer counts."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
from collections.abc import Iterable

NOBODY = 65534


def open_to_others(ports: Iterable[int]) -> list[int]:
    """Return the ports that any account can bind while nobody listens there. Without root, this account is tested."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        # No code of the parent may run here, whatever happens.
        with contextlib.suppress(BaseException):
            if os.geteuid() == 0:
                os.setgroups([])
                os.setgid(NOBODY)
                os.setuid(NOBODY)
            os.write(writer, json.dumps([port for port in ports if not _denied(port)]).encode())
        os._exit(0)
    os.close(writer)
    with open(reader, "rb") as stream:
        answer = stream.read()
    os.waitpid(child, 0)
    if not answer:
        raise OSError("the test of the ports did not run as another account")
    found: list[int] = json.loads(answer)
    return found


def _denied(port: int) -> bool:
    with socket.socket() as trial:
        # This does not disturb a program that starts to listen there at this moment.
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind(("127.0.0.1", port))
        except OSError as error:
            return error.errno == errno.EPERM
    return False
