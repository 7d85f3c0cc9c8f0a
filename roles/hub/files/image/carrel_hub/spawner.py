# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""DockerSpawner with an instance's mounts and limits, which are read at every start."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._shared.escape import username_problem
from ansible_collections.carrel.jupyter.plugins.module_utils._shared.limits import in_docker_py
from ansible_collections.carrel.jupyter.plugins.module_utils._shared.mounts import MountsError
from docker.errors import APIError, DockerException
from dockerspawner import DockerSpawner
from requests import RequestException
from traitlets import Unicode, default

from . import egress, networks, provider_groups, spawning
from .files import DIRECTORY, Unusable, read_json
from .people import read_roster

SECONDS = 0.05
CHECK_SECONDS = 1.0
LOOK_SECONDS = 0.2
REMOVED_WITHIN_SECONDS = 30
CONFLICT = 409
_CHOOSING = asyncio.Lock()


async def _beside(start: Awaitable[tuple[str, int]], joined: Awaitable[None]) -> tuple[str, int]:
    """Wait for both, also if one fails: JupyterHub can then stop what has started. The start takes longer."""
    address, nothing = await asyncio.gather(start, joined, return_exceptions=True)
    if isinstance(address, BaseException):
        raise address
    if isinstance(nothing, BaseException):
        raise nothing
    return address


class CarrelSpawner(DockerSpawner):  # type: ignore[misc]
    instance = Unicode(config=True, help="Name of the instance")
    network = Unicode(config=True, help="Name of the hub's network")

    # Each new server gets the current image, mounts and limits.
    remove = True
    # All calls to Docker share one thread, so a pull would delay everybody (dockerspawner#293).
    pull_policy = "never"
    use_internal_ip = True

    @default("name_template")
    def _name_template(self) -> str:
        return self.instance + "_{username}"

    @default("network_name")
    def _network_name(self) -> str:
        return networks.name_of(self.network, self.user.name)

    @default("format_volume_name")
    def _take_paths_as_they_are(self) -> Any:
        return lambda template, spawner: template

    async def start(self) -> Any:
        # If JupyterHub itself gives up, at start_timeout, the user reads nothing: its TimeoutError has no text.
        seconds = max(1, self.start_timeout - 1)
        try:
            return await asyncio.wait_for(self._start(), seconds)
        except asyncio.TimeoutError as error:
            self.log.error(
                "%s's server did not answer in %d seconds; see spawn_timeout_seconds", self.user.name, seconds
            )
            raise spawning.SpawnRefused(spawning.TOO_SLOW) from error

    async def _start(self) -> tuple[str, int]:
        try:
            self._prepare()
        except (Unusable, MountsError, OSError) as error:
            self.log.error("%s gets no server: %s", self.user.name, error)
            raise spawning.SpawnRefused(spawning.NO_MOUNTS) from error
        try:
            made = (self.network_name, self.user.name, self._egress)
            await networks.in_thread(self.instance, lambda ours: ours.make(*made))
            joined = networks.in_thread(self.instance, lambda ours: ours.join(self.network_name))
            address = await _beside(super().start(), joined)
        except networks.NoNetwork as error:
            self.log.error("%s gets no server: %s", self.user.name, error)
            raise spawning.SpawnRefused(spawning.NO_NETWORK) from error
        except APIError as error:
            self.log.error("%s gets no server: %s", self.user.name, error)
            text = spawning.explain(str(error.explanation or error))
            if text is None:
                raise
            raise spawning.SpawnRefused(text) from error
        await self._wait_for(*address)
        return address

    async def stop(self, now: bool = False) -> None:
        await super().stop(now)
        try:
            await networks.in_thread(self.instance, lambda ours: ours.remove(self.network_name))
        except (DockerException, RequestException) as error:
            self.log.warning("the network of %s stays until the next start: %s", self.user.name, error)

    def get_network_ip(self, network_settings: dict[str, Any]) -> str:
        """Return the address. A server from an earlier hub may still be in the hub's own network."""
        there = network_settings["Networks"]
        address: str = (there.get(self.network_name) or there[self.network])["IPAddress"]
        return address

    async def create_object(self) -> Any:
        """Create the container as soon as its name and graphics cards are free.

        Docker removes containers by itself when they end (auto_remove). DockerSpawner treats Docker's answer "removal
        is already in progress" as the end of the removal (DockerSpawner.remove_object), so the name may be in use.
        """
        end = time.monotonic() + REMOVED_WITHIN_SECONDS
        while True:
            late = time.monotonic() >= end
            try:
                # No other start may choose cards until the container exists.
                async with _CHOOSING if self._gpus else contextlib.nullcontext():
                    if not self._gpus or await self._choose(self._gpus, late):
                        return await super().create_object()
            except APIError as error:
                if error.status_code != CONFLICT or late:
                    raise
            await asyncio.sleep(LOOK_SECONDS)

    async def _choose(self, wanted: int, late: bool) -> bool:
        """Choose graphics cards. False while Docker is removing containers that have them, unless it is too LATE."""
        ours = {"label": f"carrel.instance={self.instance}"}
        containers = await self.docker("containers", all=True, filters=ours)
        free = spawning.free_gpus(self._gpu_devices, containers)
        if len(free) >= wanted:
            chosen = free[:wanted]
            self._give([*self._devices, *chosen], {spawning.GPUS: ",".join(chosen)})
            return True
        if late or len(spawning.free_gpus(self._gpu_devices, spawning.staying(containers))) < wanted:
            raise spawning.SpawnDeclined(spawning.no_gpus(wanted, len(free)), "no-gpus", 429)
        return False

    def _give(self, devices: list[str], labels: dict[str, str]) -> None:
        common = {"carrel.instance": self.instance, "carrel.user": "{raw_username}"}
        self.extra_create_kwargs = {"labels": {**common, **labels}}
        self.extra_host_config = {**self._host_config, "device_requests": spawning.device_requests(devices)}

    async def _wait_for(self, host: str, port: int) -> None:
        """Return as soon as the server accepts connections.

        JupyterHub itself tries at random, growing intervals of up to 5 s (jupyterhub.utils.exponential_backoff), and
        does not notice that a server has ended.
        """
        checked = time.monotonic()
        while True:
            try:
                # The limit is needed because an unused address does not refuse connections.
                _unused, writer = await asyncio.wait_for(asyncio.open_connection(host, port), CHECK_SECONDS)
            except (OSError, asyncio.TimeoutError):
                if time.monotonic() - checked >= CHECK_SECONDS:
                    checked = time.monotonic()
                    if await self.poll() is not None:
                        self.log.error("%s's server ended before it answered", self.user.name)
                        raise spawning.SpawnRefused(spawning.ENDED) from None
                await asyncio.sleep(SECONDS)
            else:
                writer.close()
                return

    def _prepare(self) -> None:
        config = read_json(DIRECTORY / "config.json")
        name = self.user.name
        problem = username_problem(name)
        if problem:  # older versions let such people in, and administrators may have put them into the database
            self.log.error("no server: %s", problem)
            raise spawning.SpawnDeclined(spawning.NO_NAME, "name", 400)
        text = (DIRECTORY / "mounts.json").read_text(encoding="utf-8")
        self.image = config["images"][0]["image"]
        roster = read_roster()
        if not roster.is_person(name):
            # Whoever left the group may have left a configuration in its home that opens the server to anybody.
            self.disable_user_config = True
        self.mounts = spawning.mounts(config, text, name, provider_groups.groups_of(roster, name))
        limits = roster.limits(name, config["limits"])
        self._egress = egress.limit(config, provider_groups.by_person(roster).get(name, ()))
        self._host_config = {**config["host_config"], **in_docker_py(limits, config["controllers"])}
        self._devices, self._gpu_devices, self._gpus = config["devices"], config["gpu_devices"], limits.get("gpus")
        self._give(self._devices, {})
