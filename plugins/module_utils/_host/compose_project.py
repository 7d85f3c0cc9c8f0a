# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read what an engine has of an instance's compose project."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote

from ansible_collections.carrel.jupyter.plugins.module_utils._host import files
from ansible_collections.carrel.jupyter.plugins.module_utils._host.engine_api import EngineAPI, EngineError
from ansible_collections.carrel.jupyter.plugins.module_utils._site import container, drift
from ansible_collections.carrel.jupyter.plugins.module_utils._site.lab_health import judge

MADE_ANEW = "/var/lib/carrel/{}/made_anew.json"
# Paused and restarting containers count as running.
STOPPED = ("created", "exited", "dead")


class Seen(NamedTuple):
    """What is wrong with the state of a service's container, and how it differs: None if it cannot be compared."""

    state: str | None
    differences: container.Differences | None = None


def made_anew(path: str) -> dict[str, list[str]]:
    """Return what the role recorded when it recreated containers. Empty if the file is missing or damaged."""
    file = files.read(path)
    try:
        found = json.loads(file.content) if file else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


class ComposeProject:
    def __init__(self, name: str, api: EngineAPI) -> None:
        self.name, self._api = name, api

    def containers(self) -> list[dict[str, Any]]:
        """Return all containers, also those that do not run."""
        found: list[dict[str, Any]] = self._api.call("GET", "/containers/json", label=[f"{drift.PROJECT}={self.name}"])
        # Containers of `docker compose run` have a service's labels, but compose leaves them alone.
        return [each for each in found if (each.get("Labels") or {}).get(drift.ONE_OFF) != "True"]

    def running(self) -> list[str]:
        return [str(each["Labels"][drift.SERVICE]) for each in self.containers() if each["State"] not in STOPPED]

    def image(self, name: str) -> dict[str, Any] | None:
        """Return Docker's answer about an image. None if the engine does not have it."""
        return self._get(f"/images/{quote(name, safe='/:@')}/json")

    def container(self, identifier: str) -> dict[str, Any] | None:
        return self._get(f"/containers/{quote(identifier, safe='')}/json")

    def _get(self, path: str) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = self._api.call("GET", path)
        except EngineError as error:
            if error.status == 404:
                return None
            raise
        return found

    def examine(
        self,
        service: Mapping[str, Any],
        name: str,
        environment: Mapping[str, str],
        listed: Sequence[Mapping[str, Any]],
        pages: str | None = None,
    ) -> Seen:
        """Compare a service with its container, one of those LISTED. Neither state nor differences: it has no image."""
        mine = [each for each in listed if (each.get("Labels") or {}).get(drift.SERVICE) == name]
        there = self.container(str(mine[0]["Id"])) if mine else None
        if there is None:
            return Seen("it does not run: there is no container")
        image = self.image(service["image"].replace("$$", "$"))
        if image is None:
            return Seen(None)
        differences = container.differences(self.name, service, environment, image, there, pages)
        verdict = judge(there, None)
        if not there["State"]["Running"]:
            return Seen(f"it is stopped: {verdict.seen}", differences)
        if there["State"].get("Paused"):
            return Seen("it is paused; docker unpause resumes it", differences)
        return Seen(None if verdict.ready else f"it is not healthy: {verdict.seen}", differences)
