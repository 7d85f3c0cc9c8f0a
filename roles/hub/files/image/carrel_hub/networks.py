# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make a network for each user's server. Only the hub and its proxy are in it, too.

Docker drops packets between its networks. A network exists as long as its server. If a server ends by itself, its
network is removed when the hub starts, or when the user starts the next server.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import docker
from ansible_collections.carrel.jupyter.plugins.module_utils._shared.escape import escape
from docker.errors import APIError, NotFound

from . import egress

# Docker's own pools are empty after 30 networks. This pool is for benchmarks (RFC 2544), so no site should use it.
POOL = ipaddress.IPv4Network("198.18.0.0/15")
PREFIX = 29  # room for Docker's gateway, the hub, the proxy and the server
FORBIDDEN = 403
GONE = (404, 409)  # Docker's answers about a container that is removed, or is being removed
THERE = "already exists in network"  # Docker's answer if another hub, which starts or ends, was faster
BRIDGE = "com.docker.network.bridge.name"
TRIES = 20
LABEL = "carrel.instance"
PROXY = "proxy"
HUB = "hub"
_THREAD = ThreadPoolExecutor(1, "networks")
_LIMITED: set[egress.Limit] = set()  # those with rules that this process has set
log = logging.getLogger(__name__)


class NoNetwork(Exception):
    """There is no network. The text says why."""


def name_of(network: str, user: str) -> str:
    """Return the name of a user's network. It sorts after NETWORK, so that NETWORK stays the hub's way out."""
    return f"{network}_{escape(user)}"


def free_subnets(taken: Iterable[str]) -> Iterator[str]:
    """Yield subnets that do not overlap with those TAKEN."""
    used: set[ipaddress.IPv4Network] = set()
    for subnet in map(ipaddress.ip_network, taken):
        if isinstance(subnet, ipaddress.IPv4Network) and subnet.overlaps(POOL):
            if subnet.supernet_of(POOL):
                return
            used.update([subnet.supernet(new_prefix=PREFIX)] if subnet.prefixlen > PREFIX else _parts(subnet))
    yield from (str(subnet) for subnet in _parts(POOL) if subnet not in used)


def _parts(subnet: ipaddress.IPv4Network) -> Iterator[ipaddress.IPv4Network]:
    return subnet.subnets(new_prefix=PREFIX)


class Networks:
    """The networks of one hub, which runs in this container."""

    def __init__(self, instance: str) -> None:
        self._instance = instance
        self._ours = {"label": f"{LABEL}={instance}"}
        self._client = docker.APIClient(version="auto")
        self.close = self._client.close

    def make(self, name: str, user: str, limit: egress.Limit) -> None:
        """Make the network for a user's server that does not run yet. An old network of it is removed first."""
        self.remove(name)
        self.limit({limit} - _LIMITED)
        for subnet, _unused in zip(free_subnets(self._subnets()), range(TRIES)):
            pool = docker.types.IPAMPool(subnet=subnet)
            try:
                self._client.create_network(
                    name, driver="bridge", check_duplicate=True, ipam=docker.types.IPAMConfig(pool_configs=[pool]),
                    labels={LABEL: self._instance, "carrel.user": user}, internal=limit.allowed == (),
                    options={BRIDGE: _bridge(limit.prefix, subnet)} if limit.allowed else None,
                )  # fmt: skip
            except APIError as error:
                # Another hub of this engine was faster.
                if error.status_code != FORBIDDEN:
                    raise
                continue
            return
        raise NoNetwork(f"no subnet of {POOL} is free for the network {name}")

    def remove(self, name: str) -> None:
        for container in self._both().values():
            # Also remove it from stopped containers: they would not start if one of their networks is missing.
            if name in _networks(container):
                self._leave(container["Id"], name)
        with contextlib.suppress(NotFound):
            for left in self._client.inspect_network(name)["Containers"].values():
                # An entry of a container that no longer exists has no container id, only a name.
                self._leave(left["Name"], name)
            self._client.remove_network(name)

    def _leave(self, container: str, name: str) -> None:
        # A container that has just ended has left already. Docker does not remove a network with containers.
        with contextlib.suppress(APIError):
            self._client.disconnect_container_from_network(container, name, force=True)

    def limit(self, limits: Iterable[egress.Limit]) -> None:
        """Set the rules for networks of `make`. A restart of the engine removes them, but also restarts the hub."""
        wanted = {each for each in limits if each.allowed}
        if not wanted:
            return
        host = self._client.create_host_config(
            network_mode="host", cap_drop=["ALL"], cap_add=["NET_ADMIN"], security_opt=["no-new-privileges:true"],
            read_only=True,
        )  # fmt: skip
        command = ["python3", "-m", "carrel_hub.egress"]
        command += sorted(f"{each.prefix}={','.join(each.allowed or ())}" for each in wanted)
        name = f"{self._instance}-egress"
        self._drop(name)  # from a hub that was killed meanwhile
        try:
            self._client.create_container(
                self._both()[HUB]["Image"], command, name=name, labels={LABEL: self._instance}, host_config=host
            )
            self._client.start(name)
            if self._client.wait(name)["StatusCode"]:
                said = self._client.logs(name, tail=5).decode(errors="replace").strip()
                raise NoNetwork(f"egress cannot be limited, because the engine's nftables fail: {said}")
        finally:
            self._drop(name)
        _LIMITED.update(wanted)

    def _drop(self, name: str) -> None:
        with contextlib.suppress(NotFound):
            self._client.remove_container(name, force=True)

    def settle(self) -> None:
        """Remove networks without a server, and join the others. Call this only while no server starts."""
        used = {name for server in self._client.containers(filters=self._ours) for name in _networks(server)}
        for name in set(self._names()) - used:
            with _told(f"the network {name} is not removed"):
                self.remove(name)
        self.join_all()

    def join_all(self) -> None:
        """Join all networks, because a new container of the hub or the proxy is in none of them."""
        both = self._both()
        for name in self._names():
            with _told(f"the server in the network {name} is not reached"):
                self._join(name, both)

    def join(self, name: str) -> None:
        self._join(name, self._both())

    def _join(self, name: str, both: Mapping[str, Any]) -> None:
        for alias, container in both.items():
            if name not in _networks(container):
                try:
                    self._client.connect_container_to_network(container["Id"], name, aliases=[alias])
                except APIError as error:
                    # compose is replacing the proxy. The new one causes a call of join_all (proxy.py).
                    replaced = alias == PROXY and error.status_code in GONE
                    if not replaced and THERE not in str(error.explanation):
                        raise

    def _names(self) -> list[str]:
        return [network["Name"] for network in self._client.networks(filters=self._ours)]

    def _subnets(self) -> Iterator[str]:
        for network in self._client.networks():
            for entry in network["IPAM"]["Config"] or []:
                yield entry["Subnet"]

    def _both(self) -> dict[str, Any]:
        """Return the containers of the hub and the proxy. While compose replaces one, it is missing for a moment."""
        labels = [f"com.docker.compose.project={self._instance}", f"com.docker.compose.service={PROXY}"]
        proxies = self._client.containers(all=True, filters={"label": labels})
        return {HUB: self._client.inspect_container(socket.gethostname()), **dict(zip([PROXY], proxies))}


def _bridge(prefix: str, subnet: str) -> str:
    number = int(ipaddress.IPv4Network(subnet).network_address) - int(POOL.network_address)
    return f"{prefix}{number:x}"


def _networks(container: Mapping[str, Any]) -> Iterable[str]:
    found: Iterable[str] = container["NetworkSettings"]["Networks"]
    return found


@contextlib.contextmanager
def _told(what: str) -> Iterator[None]:
    """Log an error of Docker about one network, so that the hub goes on with the others."""
    try:
        yield
    except APIError as error:
        log.warning("%s: %s", what, error)


def work(instance: str, what: Callable[[Networks], None]) -> None:
    ours = Networks(instance)
    try:
        what(ours)
    finally:
        ours.close()


async def in_thread(instance: str, what: Callable[[Networks], None]) -> None:
    """Run this in our own thread, not in DockerSpawner's only one."""
    await asyncio.get_running_loop().run_in_executor(_THREAD, work, instance, what)
