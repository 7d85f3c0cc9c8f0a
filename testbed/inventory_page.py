# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/reference/inventory.md: every key of the inventory, from its declaration."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.hub_keys import HUB
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.hub_several import ALL_TYPES
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.image_keys import IMAGE
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.key import Key
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.keys import COMMON, LAB
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.limits import LAB_LIMITS, LIMITS
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.problems import Problems
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.variables import VARIABLES

_HEAD = """\
# The inventory

<!-- Written by make docs from plugins/module_utils/_plan. -->

All keys, each with the plan's message for a value that it refuses. The plan reports all mistakes at once, each with the
path of the key, before any host is touched; `ansible-playbook -i INVENTORY carrel.jupyter.plan` does nothing else.
`inventories/example` shows all keys in use. [hub-inventory.md](hub-inventory.md) has the rules about a hub's people.

A key that is missing or null has its default. A null in an instance also removes the value of `jupyter_defaults`. An
unknown key is an error that suggests the nearest known one.
"""
_SECTIONS: tuple[tuple[str, str, Mapping[str, Key]], ...] = (
    ("Variables", "Set them for a host or a group of hosts.", VARIABLES),
    (
        "Keys of every instance",
        "For labs and hubs. In a hub, keys about containers apply to users' containers.",
        COMMON,
    ),
    ("Keys of labs", "With `kind: lab`, the default.", {}),
    ("Keys of hubs", "With `kind: hub`.", {}),
    (
        "Limits",
        "Keys of a lab. In a hub, write them in `limits` for all users, in a group, or in a user. The user's own value "
        "wins, then the largest of the user's groups, then that of `limits`.",
        LIMITS,
    ),
    (
        "Keys of an image",
        "Keys of an entry of `jupyter_images`; [Images](../howto/images.md) shows them in use.",
        IMAGE,
    ),
)


class _Dumper(yaml.SafeDumper):
    """Quotes texts such as 13:25: without quotes, YAML 1.1 may read a number in base 60."""

    def quoted(self, value: str) -> yaml.ScalarNode:
        style = '"' if re.fullmatch(r"\d+(:\d+)+", value) else None
        return self.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _Dumper.quoted)


def page() -> str:
    return _HEAD + "".join(_section(*section) for section in _SECTIONS)


def _own(title: str, keys: Mapping[str, Key]) -> Mapping[str, Key]:
    """Of labs and hubs, those that the other sections do not have."""
    table = {"Keys of labs": LAB, "Keys of hubs": HUB}.get(title)
    return keys if table is None else {name: key for name, key in table.items() if name not in {**COMMON, **LAB_LIMITS}}


def _section(title: str, text: str, keys: Mapping[str, Key]) -> str:
    nested = keys is not VARIABLES
    entries = "".join(f"\n{entry}" for name, key in _own(title, keys).items() for entry in _entries(name, key, nested))
    return f"\n## {title}\n\n{text}\n{entries}"


def _entries(path: str, key: Key, nested: bool) -> Iterator[str]:
    """A key, and those in it."""
    yield _entry(path, key)
    for name, inner in key.type.keys.items() if nested else ():
        # They have a section of their own.
        if name not in LIMITS:
            yield from _entries(f"{path}.{name}", inner, nested)


def _entry(path: str, key: Key) -> str:
    name = path.rpartition(".")[2]
    heading = "####" if "." in path else "###"
    lines = [f"{heading} `{path}`", "", key.says, "", f"- Value: {key.type.words}. {_without(key)}"]
    if path.rpartition(".")[0] == "authenticator" and name != "type":
        lines.append(f"- With type {', '.join(kind for kind, keys in ALL_TYPES.items() if name in keys)}.")
    if path in LIMITS and path not in LAB_LIMITS:
        lines.append("- Of hubs alone.")
    if key.secret:
        lines.append("- A secret, which no message shows: keep it in a vault.")
    lines.append(f"- Example: {_code(name, key.example)}")
    lines.append(f"- Refused: {_code(name, key.type.bad)}: {_refusal(key)}")
    return "\n".join(lines) + "\n"


def _without(key: Key) -> str:
    if key.needed:
        return "Required."
    if key.unset or key.default in (None, [], {}):
        return f"Default: {key.unset or 'none'}."
    return f"Default: `{_yaml(key.default)}`."


def _refusal(key: Key) -> str:
    """What the plan says."""
    problems = Problems()
    key.type.read(key.type.bad, "", problems)
    return f"`{problems.items[0].message}`"


def _code(name: str, value: Any) -> str:
    return f"`{name}: {_yaml(value)}`"


def _yaml(value: Any) -> str:
    text: str = yaml.dump(
        value, Dumper=_Dumper, default_flow_style=True, sort_keys=False, width=1000, allow_unicode=True
    )
    return text.removesuffix("\n").removesuffix("\n...")
