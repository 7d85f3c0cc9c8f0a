# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read instances from the inventory and fill them up with the defaults."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._plan.compose_keys import INSTEAD
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.hub_keys import HUB, Hub
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.key import Key, Type, mapping_of
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.keys import LAB, Lab
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.limits import LAB_LIMITS
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.merge import OWN, merge
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.problems import Problems
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.schema import INVALID, anything, listing, read
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.url import Url

KINDS: dict[str, type[Lab] | type[Hub]] = {"lab": Lab, "hub": Hub}
KEYS: dict[str, Key] = {**HUB, **LAB}
# Instances of the other kind have another key for the same thing.
_MOVED = (*LAB_LIMITS, "notebooks", "user", "home")
_readers = {kind: mapping_of(make.KEYS, INSTEAD) for kind, make in KINDS.items()}
_read_any = mapping_of(KEYS, INSTEAD)
INSTANCES = Key(
    Type(
        listing(anything, "a list of instances"),
        "a list of instances, each a mapping of the keys below",
        {},
        "list",
        "dict",
    ),
    "The instances of the host. One that is removed from this list stays on the host, and the plan warns about it.",
    example=[{"name": "tao", "url": "https://tao.example.org/", "image": "registry.example.org/lab:1.0"}],
)
DEFAULTS = Key(
    Type(_read_any, "a mapping of keys of instances", {"memry": "8G"}, "dict"),
    "Defaults for the keys of all instances. Instances ignore keys that their kind does not have.",
    example={"memory": "8G", "reset": {"at": "01:25"}},
)


def read_defaults(value: Any, problems: Problems) -> dict[str, Any]:
    parsed = _read_any({} if value is None else value, "jupyter_defaults", problems)
    if parsed is INVALID:
        return {}
    for key, declared in KEYS.items():
        if declared.single and parsed.pop(key, None) is not None:
            problems.add(f"jupyter_defaults.{key}", "not_a_default")
    return {key: item for key, item in parsed.items() if item is not None}


def read_instances(
    value: Any,
    groups: Mapping[str, Any],
    defaults: Mapping[str, Any],
    recorded: Mapping[str, str],
    problems: Problems,
) -> list[Lab | Hub]:
    """Read the instances of all lists.

    GROUPS has further lists by the names of their variables, RECORDED the kinds of the instances that the host has.
    """

    def listed(items: Any, variable: str) -> list[Any]:
        found = [] if items is None else read(INSTANCES.type.read, items, variable, problems)
        return [] if found is INVALID else list(found)

    further = {variable: listed(items, variable) for variable, items in groups.items()}
    placed = merge(listed(value, OWN), further, problems)
    found = (_read(item.value, item.path, defaults, recorded, problems) for item in placed if item.value is not INVALID)
    return [instance for instance in found if instance]


def _read(
    value: Any, path: str, defaults: Mapping[str, Any], recorded: Mapping[str, str], problems: Problems
) -> Lab | Hub | None:
    """Return an instance with the defaults. A null in the instance removes a default.

    None means that nothing in the value can be checked.
    """
    if not isinstance(value, Mapping):
        _read_any(value, path, problems)
        return None
    kind = _kind(value, defaults, recorded)
    known = isinstance(kind, str) and kind in KINDS
    if not known:
        kind = _likely_kind(value)
    make = KINDS[kind]
    keys = make.KEYS
    foreign = [key for key in value if isinstance(key, str) and key in KEYS and key not in keys]
    for key in foreign:
        if value[key] is None or not known:
            continue
        problems.add(f"{path}.{key}", "other_kind", kind=kind, instead=KEYS[key].instead)
        if key in _MOVED:
            read(KEYS[key].type.read, value[key], f"{path}.{key}", problems)
    own = _readers[kind]({key: item for key, item in value.items() if key not in foreign}, path, problems)
    if own.get("name") is None:
        problems.add(f"{path}.name", "missing", wanted=KEYS["name"].needed)
        own["name"] = INVALID
    below = dict(defaults)
    # The defaults may name another source of the image.
    sources = ("image", "images", "build")
    if any(own.get(key) is not None for key in sources):
        for key in sources:
            below.pop(key, None)
    # If the defaults have both, image is for labs and images is for hubs.
    if "images" in keys and "images" in below:
        below.pop("image", None)
    # These defaults are for https.
    if isinstance(own.get("url"), Url) and own["url"].scheme == "http":
        below.pop("tls", None)
        below.pop("hsts_seconds", None)
    below["kind"] = kind
    instance = make(path, {key: own[key] if key in own else below.get(key) for key in keys})
    instance.entry = value
    return instance


def _likely_kind(value: Mapping[str, Any]) -> str:
    """Guess an invalid kind from the keys, so that the rest can be checked."""
    return max(KINDS, key=lambda kind: sum(key in KINDS[kind].KEYS for key in value))


def _kind(value: Mapping[str, Any], defaults: Mapping[str, Any], recorded: Mapping[str, str]) -> Any:
    """Return the kind. An absent instance needs only its name: the host knows its kind."""
    name = value.get("name")
    if "kind" not in value and value.get("state") == "absent" and isinstance(name, str) and recorded.get(name) in KINDS:
        return recorded[name]
    return value.get("kind", defaults.get("kind")) or "lab"
