# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which accounts use the ports of an instance, read from the host."""

from __future__ import annotations

import pwd
from collections.abc import Collection, Mapping
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._host import listeners


def recorded(record: Mapping[str, Any]) -> list[int]:
    """The ports in an instance.json."""
    found = [record.get(key) for key in ("port", "second_port")]
    return [port for port in found if isinstance(port, int)]


def read(root: str, record: Mapping[str, Any], open_ports: Collection[int]) -> dict[str, Any]:
    """Which ports other accounts have, and which of OPEN_PORTS any account can bind."""
    ports = recorded(record)
    return {
        "taken": others(ports, str(record.get("engine")), root),
        "open": [port for port in ports if port in open_ports],
    }


def others(ports: Collection[int], account: str, root: str = "/") -> list[str]:
    """A text for each port that another account has. KeyError if there is no such account."""
    uid, tables = pwd.getpwnam(account).pw_uid, listeners.read_tables(root)
    return [text for port in ports if (text := listeners.taken(port, uid, tables))]
