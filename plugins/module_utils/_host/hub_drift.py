# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare a hub on its host with its declaration."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._host import (
    files,
    group_directories,
    image_cache,
    secret_files,
)
from ansible_collections.carrel.jupyter.plugins.module_utils._host.drift import (
    Found,
    Project,
    Surroundings,
    absent,
    install,
    unbuilt,
    url,
)
from ansible_collections.carrel.jupyter.plugins.module_utils._host.ids import host_ids
from ansible_collections.carrel.jupyter.plugins.module_utils._host.image_probe import as_result
from ansible_collections.carrel.jupyter.plugins.module_utils._host.named_volumes import NamedVolumes
from ansible_collections.carrel.jupyter.plugins.module_utils._host.user_backend import Backend
from ansible_collections.carrel.jupyter.plugins.module_utils._host.user_directories import UserDirectories
from ansible_collections.carrel.jupyter.plugins.module_utils._people.group_mounts import Plan
from ansible_collections.carrel.jupyter.plugins.module_utils._report import printable
from ansible_collections.carrel.jupyter.plugins.module_utils._site import drift, hub, hub_images, hub_options, hub_smoke

STATE = "/var/lib/carrel/{}"
# Paths below the instance's data. The files of the database that is not declared must be moved aside.
DATABASES = {"sqlite": "hub/jupyterhub.sqlite", "postgresql": "database/pgdata"}
SERVER = "jupyter_config.py"


def look(instance: Mapping[str, Any], around: Surroundings, found: Found) -> None:
    """Find the differences. INSTANCE also has `hub_image`, the name of the hub's own image."""
    engine = around.engines.get(instance["engine"], {})
    if instance["state"] == "absent":
        absent(instance, found)
    elif not engine.get("running"):
        found.reasons.append(f"the engine {instance['engine']} does not run")
    elif instance["state"] == "held":
        _held(instance, engine, found)
    else:
        _present(instance, engine, around, found)


def _present(instance: Mapping[str, Any], engine: Mapping[str, Any], around: Surroundings, found: Found) -> None:
    lost = hub.unenforceable(instance, engine)
    if lost:
        found.notes.append(
            f"{instance['name']} runs its users without their limits on {', '.join(lost)}, because the cgroup of"
            f" {engine['home']} lacks their controllers; see docs/explanation/rootless-docker.md"
        )
    project = Project(instance["name"], engine)
    images = _images(instance, project, found)
    if images is None:
        return
    _untried(instance, images, found)
    decided = hub.project(instance, engine, images, instance["hub_image"])
    root = instance["directory"]
    install(found, {"directories": decided["directories"]})
    secrets = {**hub_options.secrets(instance, engine), "passwords": decided["passwords"]}
    texts = secret_files.apply(secrets, True, found.tracker)
    roster = {"path": f"{root}/hub/roster.json", "content": decided["roster"], "group": engine["gid"], "mode": "0640"}
    install(found, {"files": [roster]})
    _people(instance, engine, decided, found, around.control_time)
    checksum = secret_files.checksum(texts)
    install(found, hub.files(instance, engine, decided, checksum, around.programs[SERVER]))
    smoke = {name: text for name, text in around.programs.items() if name != SERVER}
    install(found, hub_smoke.files(instance, engine, decided, images, smoke))
    other = "postgresql" if instance["database"]["type"] == "sqlite" else "sqlite"
    for path in (f"{root}/data/{DATABASES[other]}", f"{root}/data/hub/switch.json"):
        if os.path.lexists(path):
            found.reasons.append(f"{path} is still there, of a database that is not used")

    listed = project.containers()
    proxy_token = secret_files.token(texts)
    services = hub.labelled(decided, checksum)["services"]
    for name, service in services.items():
        environment = {"CONFIGPROXY_AUTH_TOKEN": proxy_token} if name == "proxy" else {}
        reasons = project.compare(found, service, name, environment, listed)
        found.reasons += [f"{name}: {reason}" for reason in reasons]
    found.reasons += drift.orphans(instance["name"], services, listed)
    if not found.all_reasons():
        found.reasons += url(around, instance, "hub/login", [instance["port"]], [200, 302])


def _images(instance: Mapping[str, Any], project: Project, found: Found) -> list[dict[str, Any]] | None:
    """Return the facts of earlier runs about the users' images. None if a run must inspect one."""
    database = [instance["database"]["image"]] if instance["database"]["image"] else []
    names = [entry["image"] for entry in instance["images"]]
    results = []
    if any(map(unbuilt, names)):
        found.reasons += [text for name in names for text in unbuilt(name)]
        return None
    if instance["hub_image"] is None:
        found.reasons.append("what the hub's own image is built from cannot be read")
        return None
    for name in [instance["hub_image"], *names, *database]:
        inspected = project.image(name)
        if inspected is None:
            found.reasons.append(f"the engine does not have the image {name}")
            continue
        moved = instance["pull"] == "always" and name != instance["hub_image"] and project.moved(name, inspected)
        if moved:
            found.reasons.append(moved)
        if name in names:
            image = project.examined(name, None, image_cache.OF_ENGINE.format(instance["engine"]), inspected)
            if image is None or ((instance["settings"] or instance["backups"]) and image.jupyterlab is None):
                found.reasons.append(f"the image {name} is new: no run has inspected it yet")
                continue
            results.append(as_result(image))
    if len(results) < len(names):
        return None
    problems = hub_images.problems(instance, results)
    found.reasons += problems
    found.notes += hub_images.warnings(instance, results)
    return None if problems else results


def _untried(instance: Mapping[str, Any], images: Sequence[Mapping[str, Any]], found: Found) -> None:
    """Otherwise a run after one whose smoke notebooks failed would find nothing to do, and succeed."""
    record = files.read(hub_smoke.RECORD.format(instance["name"]))
    passed = json.loads(record.content) if record else []
    for trial in hub_smoke.due(instance, images, passed, []):
        found.reasons.append(f"the image {trial['tag']} has not passed the smoke notebooks yet")
    if os.path.lexists(f"{STATE.format(instance['name'])}/before.json"):
        found.reasons.append("a run was killed before it accepted the images that it pulled")


def _people(
    instance: Mapping[str, Any],
    engine: Mapping[str, Any],
    decided: Mapping[str, Any],
    found: Found,
    control_time: str | None = None,
) -> None:
    account = instance["engine"]
    uid, gid = host_ids(account, decided["uid"], decided["gid"])
    options = {
        **hub_options.volumes(instance, engine),
        "users": decided["users"],
        "directories": decided["user_directories"],
        "control_time": control_time,
        "purge": False,
    }
    work: Backend
    if instance["backend"] == "volumes":
        work = NamedVolumes(options, True, uid, gid, host_ids(account, 0, 0)[0])
    else:
        work = UserDirectories(options, True, uid, gid)
    try:
        work.run()
    except work.reported as error:
        work.problems.append(str(error))
    before, after = ("".join(f"{line}\n" for line in sorted(lines)) for lines in (work.before, work.after))
    found.tracker.note(work.where, before, after)
    options = {
        **hub_options.mounts(instance, engine),
        "users": decided["members"],
        "user_directories": decided["user_mounts"],
    }
    made = group_directories.apply(options, Plan(options), uid, gid, True, found.tracker)
    found.reasons += [*work.problems, *made.problems]
    found.notes += [
        f"{instance['name']}: {warning}" for warning in printable.bounded([*work.warnings, *made.warnings()])
    ]


def _held(instance: Mapping[str, Any], engine: Mapping[str, Any], found: Found) -> None:
    """Compare a held hub. Its record names the database that it has, not the declared one."""
    path = f"{STATE.format(instance['name'])}/instance.json"
    present = files.read(path)
    recorded = json.loads(present.content) if present else {}
    database = recorded.get("database", instance["database"]["type"])
    install(found, {"files": [{"path": path, "content": hub.hub_record(instance, database)}]})
    project = Project(instance["name"], engine)
    if project.running() or project.users_running():
        found.reasons.append("it runs, but should be held")
