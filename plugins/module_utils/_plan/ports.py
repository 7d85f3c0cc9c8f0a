# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which port of 127.0.0.1 an instance is published on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping


def allocate(
    names: Iterable[str], fixed: Mapping[str, int], known: Mapping[str, int], taken: Iterable[int], low: int, high: int
) -> dict[str, int | None]:
    """A port for each name; None when the range is full.

    FIXED ports were given by the administrator and win. KNOWN ports belong to instances that exist: those in NAMES keep
    theirs, the others' stay theirs. A new instance starts at a place that its name alone decides, and takes the first
    port from there that nobody has, so the outcome depends neither on the order nor, but for collisions, on the others.
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
