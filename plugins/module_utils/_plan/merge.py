# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Merge the lists with instances of one host: jupyter_instances, and jupyter_instances_* of its groups."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any, NamedTuple

from ansible_collections.carrel.jupyter.plugins.module_utils._plan.keys import instance_path
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.problems import Problems
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.schema import INVALID

OWN = "jupyter_instances"


class Placed(NamedTuple):
    """An instance as in the inventory, and its path there."""

    path: str
    value: Any


def merge(own: list[Any], groups: Mapping[str, list[Any]], problems: Problems) -> list[Placed]:
    """Return all instances, the host's own ones first.

    The keys of instances with the same name are merged. The host's own keys win; on all other keys groups must agree.
    """
    settled: dict[str | None, Any] = {}
    for value in own:
        settled.setdefault(_name(value), value)
    found: list[Placed] = []
    for variable, values in sorted(groups.items()):
        names = [_name(item.value) for item in found]
        for index, value in enumerate(values):
            placed = Placed(instance_path(index, value, variable), value)
            name = _name(value)
            # A name that is twice in one list is not merged, but reported later.
            if name is None or name not in names:
                found.append(placed)
            else:
                place = names.index(name)
                found[place] = _joined(found[place], placed, settled.get(name, ()), problems)
    return [Placed(instance_path(index, value), _take(found, value)) for index, value in enumerate(own)] + found


def _name(value: Any) -> str | None:
    name = value.get("name") if isinstance(value, Mapping) else None
    return name if isinstance(name, str) else None


def _joined(first: Placed, second: Placed, settled: Container[str], problems: Problems) -> Placed:
    """Merge two entries. SETTLED has the keys that the host itself sets."""
    for key, item in second.value.items():
        other = first.value.get(key, item)
        if key not in settled and other != item and INVALID not in (other, item):
            problems.add(f"{second.path}.{key}", "merge_differs", other=first.path, own=OWN)
    return Placed(first.path, {**second.value, **first.value})


def _take(found: list[Placed], value: Any) -> Any:
    """Merge the host's own VALUE with the groups' entry, and remove that entry from FOUND."""
    name = _name(value)
    for placed in found:
        if name is not None and _name(placed.value) == name:
            found.remove(placed)
            return {**placed.value, **value}
    return value
