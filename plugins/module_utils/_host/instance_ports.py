# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find which accounts use the ports of an instance."""

from __future__ import annotations

import pwd
from collections.abc import Collection, Mapping
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._host import listeners


def recorded(record: Mapping[str, Any]) -> list[int]:
    """Return the ports in an instance.json."""
    found = [record.get(key) for key in ("port", "second_port")]
    return [port for port in found if isinstance(port, int)]


def read(root: str, record: Mapping[str, Any], open_ports: Collection[int]) -> dict[str, Any]:
    """Return the ports that other accounts have, and those in OPEN_PORTS, which any account can bind."""
    ports = recorded(record)
    return {
        "taken": others(ports, str(record.get("engine")), root),
        "open": [port for port in ports if port in open_ports],
    }


def others(ports: Collection[int], account: str, root: str = "/") -> list[str]:
    """Return a text for each port that another account has. Raises KeyError if ACCOUNT does not exist."""
    uid, tables = pwd.getpwnam(account).pw_uid, listeners.read_tables(root)
    return [text for port in ports if (text := listeners.taken(port, uid, tables))]
