# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Choose the port of 127.0.0.1 on which an instance is published."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping


def allocate(
    names: Iterable[str], fixed: Mapping[str, int], known: Mapping[str, int], taken: Iterable[int], low: int, high: int
) -> dict[str, int | None]:
    """Return a port for each name. None if the range is full.

    FIXED ports are the administrator's choice and win. KNOWN ports belong to instances on the host: those in NAMES keep
    theirs, and nobody gets those of the others. The search for a new instance's port starts at a port that depends only
    on the name, so the result does not depend on the order, and only in collisions on other instances.
    """
    wanted = set(names)
    ports: dict[str, int | None] = {name: fixed[name] for name in wanted if name in fixed}
    used = set(fixed.values())
    for name in sorted(known):
        if name not in fixed and known[name] not in used:
            used.add(known[name])
            if name in wanted:
                ports[name] = known[name]
    used.update(taken)
    size = high - low + 1
    for name in sorted(wanted - set(ports)):
        start = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") % size
        free = (low + (start + step) % size for step in range(size))
        ports[name] = next((port for port in free if port not in used), None)
        if ports[name] is not None:
            used.add(ports[name] or 0)
    return ports
