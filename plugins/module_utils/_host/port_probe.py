# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test, as an account that owns nothing, which ports can be bound: only the kernel's answer counts."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
from collections.abc import Iterable

NOBODY = 65534


def open_to_others(ports: Iterable[int]) -> list[int]:
    """The ports that nothing but a listener keeps other accounts from binding; without root, this very account."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        # Nothing of the parent may run here, whatever happens.
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
        # So that a program that starts to listen there at this moment is not disturbed.
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind(("127.0.0.1", port))
        except OSError as error:
            return error.errno == errno.EPERM
    return False
