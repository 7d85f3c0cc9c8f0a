# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Control configurable-http-proxy. It gets a route to a user's server only after it has joined the server's network."""

from __future__ import annotations

from typing import Any

from docker.errors import DockerException
from jupyterhub.proxy import ConfigurableHTTPProxy
from requests import RequestException

from . import networks
from .files import DIRECTORY, read_json


class CarrelProxy(ConfigurableHTTPProxy):  # type: ignore[misc]
    async def check_routes(self, *arguments: Any, **options: Any) -> None:
        """Check the routes. A proxy that starts causes this call (bin/starting.mjs)."""
        try:
            await networks.in_thread(read_json(DIRECTORY / "config.json")["name"], networks.Networks.join_all)
        except (DockerException, RequestException) as error:
            self.log.error("the proxy does not reach all servers: %s", error)
        await super().check_routes(*arguments, **options)
