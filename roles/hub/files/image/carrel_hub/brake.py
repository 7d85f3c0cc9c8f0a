# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Limit how often a client may try, and distinguish clients."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import time
from collections.abc import Callable, Hashable, Iterable
from typing import Any

MOST_KEYS = 20_000
KEPT_SECONDS = 10.0


class Brake:
    """Allows at most MOST tries of a key within SECONDS."""

    def __init__(self, most: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._seconds, self._clock = most, seconds, clock
        self._tries: dict[Hashable, list[float]] = {}

    def take(self, key: Hashable) -> bool:
        """Whether one more try is allowed. Only allowed tries are counted."""
        now = self._clock()
        recent = [when for when in self._tries.pop(key, ()) if when > now - self._seconds]
        allowed = len(recent) < self._most
        self._tries[key] = [*recent, now] if allowed else recent
        while len(self._tries) > MOST_KEYS:  # the oldest are the first
            del self._tries[next(iter(self._tries))]
        return allowed

    def give_back(self, key: Hashable) -> None:
        """Do not count the last try, because it was right."""
        if self._tries.get(key):
            self._tries[key].pop()

    def forget(self, key: Hashable) -> None:
        self._tries.pop(key, None)


def client(peer: str, forwarded: str, proxies: Iterable[str], relays: Iterable[str]) -> str:
    """Return who asks: an address, or with IPv6 the network of one household or machine.

    Only the proxy is trusted about other addresses, because users' containers reach the hub, too. In its list, the last
    address counts that is not a relay between Apache and the proxy. Apache removes what clients claim.
    """
    address = peer
    if peer in set(proxies):
        known = set(relays)
        said = [part.strip() for part in forwarded.split(",") if part.strip()]
        address = next((part for part in reversed(said) if part not in known), peer)
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return peer
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped:
            return str(found.ipv4_mapped)
        return str(ipaddress.ip_network((found, 64), strict=False))
    return str(found)


class Visitors:
    """Finds the client of a tornado request."""

    def __init__(self, proxy: str = "proxy", clock: Callable[[], float] = time.monotonic) -> None:
        self._proxy, self._clock = proxy, clock
        self._known: list[str] = []
        self._until = float("-inf")

    async def address(self, request: Any) -> str:
        peer = str(request.connection.context.address[0])
        return client(peer, request.headers.get("X-Forwarded-For", ""), await self._proxies(), _gateways())

    async def _proxies(self) -> list[str]:
        """Return the proxy's addresses. They are cached, and looked up in a thread, because this may take seconds."""
        if self._clock() > self._until:
            self._until = self._clock() + KEPT_SECONDS
            try:
                found = await asyncio.get_running_loop().getaddrinfo(self._proxy, None)
            except OSError:
                found = []
            self._known = [str(entry[4][0]) for entry in found]
        return self._known


def _gateways() -> list[str]:
    """Return the address that the proxy sees for requests from the host."""
    try:
        with open("/proc/net/route", encoding="ascii") as stream:
            lines = [line.split() for line in stream][1:]
    except OSError:
        return []
    return [socket.inet_ntoa(bytes.fromhex(line[2])[::-1]) for line in lines if line[1] == "00000000"]
