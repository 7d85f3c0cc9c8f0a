# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check instances that the playbook move moves, or has moved, to another host."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._plan.keys import Instance
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.problems import Problems
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.schema import given


def foresee(own: Any, moving: Mapping[str, Any] | None) -> Any:
    """Return the host's own list as it will be after the move: with the new instance, or with moved_to in the old one.

    If an instance comes back to a host, this host forwards requests to where it `was` until then.
    """
    if not moving:
        return own
    name = moving["name"]
    before = [item for item in own or [] if isinstance(item, Mapping) and item.get("name") == name]
    others = [item for item in own or [] if item not in before]
    entry = moving.get("entry")
    if entry is not None:
        return [*others, {**entry, "state": moving["state"], "moved_to": moving.get("was") or None}]
    return [*others, {**(before[0] if before else {"name": name}), "moved_to": moving["to"], "state": "held"}]


def check_moved(
    instances: Sequence[Instance],
    records: Mapping[str, Mapping[str, Any]],
    moving: Mapping[str, Any] | None,
    problems: Problems,
) -> None:
    """Check that the inventory agrees with the moves. Otherwise people would get the old copy, or no server at all."""
    known = {name: record for name, record in records.items() if not moving or name != moving["name"]}
    for instance in instances:
        if moving and instance.name == moving["name"]:
            continue
        there = known.get(instance.name, {}).get("moved_to") if given(instance.name) else None
        path = f"{instance.path}.moved_to"
        if instance.wanted and there and instance.moved_to is None:
            problems.add(path, "moved_away", to=there)
        elif instance.wanted and given(instance.moved_to) and instance.moved_to is not None and not there:
            problems.add(path, "moved_not")
    declared = {instance.name for instance in instances}
    for name in sorted(known.keys() - declared):
        if known[name].get("moved_from"):
            problems.add("jupyter_instances", "moved_here", name=name, source=known[name]["moved_from"])
