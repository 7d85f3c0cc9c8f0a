# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare a lab on its host with its declaration."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._host import image_cache, server_settings
from ansible_collections.carrel.jupyter.plugins.module_utils._host.drift import (
    Found,
    Project,
    Surroundings,
    absent,
    install,
    unbuilt,
    url,
)
from ansible_collections.carrel.jupyter.plugins.module_utils._host.image_probe import as_result
from ansible_collections.carrel.jupyter.plugins.module_utils._host.login_files import SERVICES, LoginFiles
from ansible_collections.carrel.jupyter.plugins.module_utils._shared import limits
from ansible_collections.carrel.jupyter.plugins.module_utils._site import drift, lab

STATE = "/var/lib/carrel/{}"


def look(instance: Mapping[str, Any], around: Surroundings, found: Found) -> None:
    if instance["state"] == "absent":
        absent(instance, found)
    elif instance["state"] == "held":
        _held(instance, around, found)
    else:
        _present(instance, around, found)


def _present(instance: Mapping[str, Any], around: Surroundings, found: Found) -> None:
    engine = around.engines.get(instance["engine"], {})
    if not engine.get("running"):
        found.reasons.append(f"the engine {instance['engine']} does not run")
        return
    lost = limits.unenforceable(instance["limits"], engine["controllers"])
    if lost:
        found.notes.append(
            f"{instance['name']} runs without its limits on {', '.join(lost)}, because the cgroup of {engine['home']}"
            " lacks their controllers; see docs/explanation/rootless-docker.md"
        )
    project = Project(instance["name"], engine)
    name = instance["image"]
    if unbuilt(name):
        found.reasons += unbuilt(name)
        return
    inspected = project.image(name) if name else None
    if inspected is None:
        found.reasons.append(f"the engine does not have the image {name or 'that is built from ' + _context(instance)}")
        return
    moved = instance["pull"] == "always" and instance["build"] is None and project.moved(name, inspected)
    if moved:
        found.reasons.append(moved)
    state = STATE.format(instance["name"])
    image = project.examined(name, instance["user"], image_cache.OF_ENGINE.format(instance["engine"]), inspected)
    if image is None:
        found.reasons.append(f"the image {name} is new: no run has inspected it yet")
        return
    decided = lab.project(instance, engine, {**as_result(image), "image": name})
    login = LoginFiles(f"{instance['directory']}/login", SERVICES, instance["login"], name, image)
    login.compare(found.tracker)
    install(found, {key: decided[key] for key in ("directories", "limits")})
    if instance["password"] is not None and server_settings.ARGON2_ERROR:
        found.reasons.append("the password cannot be compared: python3-argon2 is not on the host")
        return
    options = lab.server_options(instance, engine, decided)
    checksum, _unused = server_settings.apply(options, True, found.tracker)
    install(found, lab.files(instance, engine, decided, checksum, around.programs))

    listed = project.containers()
    second = os.path.lexists(f"{state}/reset/second")
    service = "lab-2" if second else "lab-1"
    declared = lab.labelled(decided, checksum)["services"][service]
    mounts = [{"source": source, "target": target, "read_only": True} for source, target in login.mounts]
    declared = {**declared, "volumes": [*declared["volumes"], *mounts]}
    found.reasons += project.compare(found, declared, service, decided["environment"], listed, login.path)
    found.reasons += drift.orphans(instance["name"], lab.SERVICES, listed)
    if not found.all_reasons():
        found.reasons += url(around, instance, "api", [instance["port"], instance["second_port"]], [200])


def _context(instance: Mapping[str, Any]) -> str:
    return str((instance["build"] or {}).get("context"))


def _held(instance: Mapping[str, Any], around: Surroundings, found: Found) -> None:
    path = f"{STATE.format(instance['name'])}/instance.json"
    install(found, {"files": [{"path": path, "content": lab.lab_record(instance)}]})
    if os.path.lexists(f"{instance['directory']}/compose.yaml"):
        engine = around.engines.get(instance["engine"], {})
        if not engine.get("running"):
            found.reasons.append(f"the engine {instance['engine']} does not run")
        elif Project(instance["name"], engine).running():
            found.reasons.append("it runs, but should be held")
