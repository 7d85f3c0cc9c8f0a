# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Describe how an instance differs from its declaration."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._changes.file import File

PROJECT = "com.docker.compose.project"
SERVICE = "com.docker.compose.service"
# Labels of an instance's containers, of its users' containers, and of those of a drill and of smoke notebooks.
OF_INSTANCE = (PROJECT, "carrel.instance", "carrel.drill", "carrel.smoke")
ONE_OFF = "com.docker.compose.oneoff"


def file_reason(path: str, before: object, after: object) -> str:
    """Describe a difference of a file or a directory that a tracker recorded."""
    if before is None:
        return f"{path} is missing"
    if after is None:
        return f"{path} should not be there"
    if isinstance(before, File) and isinstance(after, File):
        found = []
        if before.content != after.content:
            found.append("has other content")
        if before.mode != after.mode:
            found.append(f"has mode {before.mode:04o} instead of {after.mode:04o}")
        if (before.uid, before.gid) != (after.uid, after.gid):
            found.append(f"belongs to {before.uid}:{before.gid} instead of {after.uid}:{after.gid}")
        return f"{path} {' and '.join(found)}"
    if isinstance(before, str) and isinstance(after, str) and before.startswith(("at most ", "no limit")):
        return f"{path} has {before.strip()} on disk instead of {after.strip()}"
    if isinstance(before, str) and isinstance(after, str) and before.startswith("mode "):
        return f"{path} has {before.strip()} instead of {after.strip()[5:]}"
    return f"{path} has other content"


def orphans(name: str, services: Collection[str], containers: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return containers of the project that belong to no service. compose would remove them."""
    labels = [(container, container.get("Labels") or {}) for container in containers]
    return [
        f"the container {_name(container)} is of no service that is declared"
        for container, label in labels
        if label.get(PROJECT) == name and label.get(SERVICE) not in services
    ]


def strangers(names: Collection[str], containers: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return containers of an engine that belong neither to these instances nor to their users."""
    found = []
    for container in containers:
        labels = container.get("Labels") or {}
        if all(labels.get(label) not in names for label in OF_INSTANCE):
            found.append(_name(container))
    return sorted(found)


def lines(
    planned: Mapping[str, str],
    recorded: Collection[str],
    compared: Sequence[Mapping[str, Any]],
    images: Sequence[Mapping[str, Any]] = (),
) -> list[str]:
    """Describe what the site playbook would change: a line for each instance, then other things on the host.

    PLANNED has the states by name. RECORDED are the host's instances. COMPARED has the answers of instance_drift,
    IMAGES those of image_drift.
    """
    differing = {name: reasons for answer in compared for name, reasons in (answer.get("differing") or {}).items()}
    same = {name for answer in compared for name in answer.get("as_declared") or []}
    found = [
        f"image {image['name']} in the engine {image['engine']}: {'; '.join(image['reasons']) or 'as declared'}"
        for image in images
    ]
    for name, state in planned.items():
        if name in same:
            found.append(f"{name}: as declared")
        elif state == "present" and name not in recorded:
            found.append(f"{name}: missing; it is not on the host yet")
        else:
            found.append(f"{name}: {'; '.join(differing.get(name, ['not compared']))}")
    found += [f"{name}: on the host, but not in the inventory" for name in sorted(set(recorded) - set(planned))]
    strangers = {engine: names for answer in compared for engine, names in (answer.get("strangers") or {}).items()}
    for engine, names in strangers.items():
        found.append(f"engine {engine}: containers that belong to no instance: {', '.join(names)}")
    return found


def _name(container: Mapping[str, Any]) -> str:
    return str((container.get("Names") or [container["Id"]])[0]).lstrip("/")
