# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find out which account listens on a port of 127.0.0.1, because it gets everything that is sent there, also passwords.

The program carrel-reset links to this file, so it uses only the standard library.
"""

from __future__ import annotations

import os
import pwd
import socket
import struct
from collections.abc import Iterator, Sequence

TABLES = ("proc/net/tcp", "proc/net/tcp6")
OWN = ("127.0.0.1", "::ffff:127.0.0.1")
EVERY = ("0.0.0.0", "::", "::ffff:0.0.0.0")  # noqa: S104 - nothing is bound here


def uids(port: int, tables: Sequence[str]) -> set[int]:
    """Return who would get a connection to the port of 127.0.0.1. TABLES are the texts of /proc/net/tcp and tcp6."""
    found = [listener for table in tables for listener in _listeners(table) if listener[1] == port]
    # The kernel prefers a listener on exactly this address.
    for addresses in (OWN, EVERY):
        owners = {uid for address, _unused, uid in found if address in addresses}
        if owners:
            return owners
    return set()


def _listeners(table: str) -> Iterator[tuple[str, int, int]]:
    """Yield address, port and uid of each listener (kernel, Documentation/networking/proc_net_tcp.rst)."""
    for line in table.splitlines()[1:]:
        fields = line.split()
        if len(fields) > 7 and fields[3] == "0A":
            address, _unused, port = fields[1].partition(":")
            words = [int(address[start : start + 8], 16) for start in range(0, len(address), 8)]
            family = socket.AF_INET if len(words) == 1 else socket.AF_INET6
            packed = struct.pack(f"={len(words)}I", *words)  # the kernel prints numbers in the machine's byte order
            yield socket.inet_ntop(family, packed), int(port, 16), int(fields[7])


def taken(port: int, account_uid: int, tables: Sequence[str]) -> str | None:
    """Report another account that has the port. None if nobody, the account itself or root has it."""
    others = sorted(uids(port, tables) - {account_uid, 0})
    if not others:
        return None
    return (
        f"port {port} of 127.0.0.1 is taken by {' and '.join(map(name, others))}, not by {name(account_uid)}, whose "
        "instance it belongs to: what people send there goes to the wrong program. Find it with "
        f"`ss -ltnp 'sport = :{port}'`, stop it, and run the playbook carrel.jupyter.site"
    )


def name(uid: int) -> str:
    try:
        return f"{pwd.getpwuid(uid).pw_name} (uid {uid})"
    except KeyError:
        return f"uid {uid}"


def read_tables(root: str = "/") -> list[str]:
    """Read the tables of the host below ROOT. Without IPv6 in the kernel, one is missing."""
    texts = []
    for path in TABLES:
        try:
            with open(os.path.join(root, path), encoding="ascii") as stream:
                texts.append(stream.read())
        except FileNotFoundError:
            continue
    return texts
