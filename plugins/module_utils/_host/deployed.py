# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare an instance with what the site playbook wrote for it. The host does this itself, without the inventory."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._host import files
from ansible_collections.carrel.jupyter.plugins.module_utils._host.compose_project import (
    MADE_ANEW,
    STOPPED,
    ComposeProject,
    made_anew,
)
from ansible_collections.carrel.jupyter.plugins.module_utils._host.engine_api import EngineAPI
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.facts import parse_instance
from ansible_collections.carrel.jupyter.plugins.module_utils._report import printable
from ansible_collections.carrel.jupyter.plugins.module_utils._site import deployed, drift

LONGEST = 4 * 2**20  # bytes of a file that is parsed
SECOND = "/var/lib/carrel/{}/reset/second"
OF_USER = ("carrel.instance", "carrel.user")


class Deployed:
    """An instance on its host. ROOT is the host's root directory, or a folder in its place."""

    def __init__(self, root: str, record: Mapping[str, Any]) -> None:
        self._root, self._record, self.name = root, record, str(record["name"])
        self._directory = str(record["directory"])

    def _path(self, path: str) -> str:
        return os.path.join(self._root, path.lstrip("/"))

    def _content(self, name: str) -> bytes:
        file = files.read(self._path(f"{self._directory}/{name}"), LONGEST)
        return file.content if file else b""

    def changed_files(self) -> list[str] | None:
        """Return the files that were changed. None if an older version wrote them, which did not note their digests."""
        described = files.read(self._path(deployed.PATH.format(self.name)))
        if described is None or self._record["state"] != "present":
            return None
        facts = parse_instance(described.content.decode())["files"]
        changed = [path for path, about in facts.items() if not self._same(path, about)]
        compose = f"{self._directory}/compose.yaml"
        return changed if compose in changed else changed + self._changed_configuration(changed)

    def _same(self, path: str, facts: Mapping[str, Any] | None) -> bool:
        try:
            return deployed.same(facts, files.read(self._path(path)))
        except files.UnsafePathError:
            return False

    def _changed_configuration(self, changed: Sequence[str]) -> list[str]:
        """Compare a file that a reset may rewrite, or that has secrets, with the digest in a container's label."""
        is_lab = self._record["kind"] == "lab"
        if not is_lab and f"{self._directory}/hub/config.json" in changed:
            return []
        name = "server/jupyter_server_config.json" if is_lab else "hub/secrets.json"
        service, label = ("lab-1", deployed.SERVER_CONFIG) if is_lab else ("hub", deployed.HUB_CONFIG)
        wanted = self._services("compose.yaml")[service]["labels"][label]
        try:
            content = self._content(name)
        except files.UnsafePathError:
            return [f"{self._directory}/{name}"]
        if is_lab:
            there = deployed.lab_config(content)
        else:
            secrets = hashlib.sha256(content).hexdigest()
            there = deployed.hub_config(self._content("hub/config.json").decode(), secrets)
        return [] if there == wanted else [f"{self._directory}/{name}"]

    def _services(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = parse_instance(self._content(name).decode())["services"]
        return found

    def differences(self, api: EngineAPI, listed: Sequence[Mapping[str, Any]]) -> dict[str, int]:
        """Return how many containers, images and states differ. LISTED are all containers of the engine."""
        own = [each for each in listed if (each.get("Labels") or {}).get(drift.PROJECT) == self.name]
        own = [each for each in own if (each.get("Labels") or {}).get(drift.ONE_OFF) != "True"]
        if self._record["state"] != "present":
            instance, user = OF_USER
            labels = [(each, each.get("Labels") or {}) for each in listed]
            peoples = [each for each, label in labels if label.get(instance) == self.name and user in label]
            return {"state": sum(each["State"] not in STOPPED for each in [*own, *peoples])}
        found = {"containers": 0, "images": 0, "state": 0}
        services, mounts = self._services("compose.yaml"), {}
        wanted = list(services)
        if self._record["kind"] == "lab":
            mounts = self._services("login/compose.yaml")
            wanted = ["lab-2" if os.path.lexists(self._path(SECOND.format(self.name))) else "lab-1"]
        in_vain = made_anew(self._path(MADE_ANEW.format(self.name))).values()
        project = ComposeProject(self.name, api)
        for name in wanted:
            volumes = [*services[name].get("volumes", []), *mounts.get(name, {}).get("volumes", [])]
            service = {**services[name], "volumes": volumes}
            seen = project.examine(service, name, self._environment(service), own)
            found["state"] += seen.state is not None
            if seen.differences is None:
                found["images"] += seen.state is None
                continue
            made_of_another = seen.differences.made is not None and not seen.differences.image
            others = printable.bounded(seen.differences.others)
            found["images"] += bool(seen.differences.image)
            found["containers"] += made_of_another or (bool(others) and others not in in_vain)
        found["containers"] += len(drift.orphans(self.name, services, own))
        return found

    def _environment(self, service: Mapping[str, Any]) -> dict[str, str]:
        found: dict[str, str] = {}
        for name in service.get("env_file", []):
            found.update(deployed.variables(self._content(name).decode()))
        return found
