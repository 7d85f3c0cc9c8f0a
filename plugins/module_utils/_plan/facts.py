# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parse what the kernel and our own files say about a host."""

from __future__ import annotations

import json
import re
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._engine.subordinate_ids import parse


def listening_ports(proc_net_tcp: str) -> set[int]:
    """Return the ports in state LISTEN (0A) in /proc/net/tcp or tcp6 (kernel, networking/proc_net_tcp.rst)."""
    rows = (line.split() for line in proc_net_tcp.splitlines()[1:])
    return {int(row[1].rpartition(":")[2], 16) for row in rows if len(row) > 3 and row[3] == "0A"}


def port_range(ip_local_port_range: str) -> list[int] | None:
    found = re.fullmatch(r"(\d+)\s+(\d+)\s*", ip_local_port_range)
    return [int(found[1]), int(found[2])] if found else None


def memory_bytes(meminfo: str) -> int | None:
    found = re.search(r"^MemTotal:\s+([0-9]+) kB$", meminfo, re.MULTILINE)
    return int(found[1]) * 1024 if found else None


def first_range(subids: str, name: str, uid: int | None) -> dict[str, int] | None:
    """Return the range to which container ids from 1 on are mapped. Entries name the account or its uid."""
    ranges = (entry.ids for entry in parse(subids) if entry.owner in (name, str(uid)))
    return next(({"start": ids.start, "count": ids.count} for ids in ranges), None)


def installed_packages(status: str) -> list[str]:
    """Return the packages that are installed according to /var/lib/dpkg/status (dpkg-query(1), package states)."""
    return sorted(re.findall(r"^Package: (\S+)\nStatus: \S+ \S+ installed$", status, re.MULTILINE))


def parse_instance(text: str) -> dict[str, Any]:
    """Parse an instance.json. Raises ValueError."""
    content = json.loads(text)
    if not isinstance(content, dict):
        raise ValueError("it holds no object")
    return content
