# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a key of the inventory is. Each is declared once; its reading, the reference and the roles' contracts follow."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from ansible_collections.carrel.jupyter.plugins.module_utils._plan.schema import Reader, mapping, record


class Type(NamedTuple):
    """How a value is read, and the words for what it may be."""

    read: Reader
    words: str
    # A value that is refused; the reference shows the message.
    bad: Any
    # The type after reading, as in argument_specs.
    argument: str = "str"
    elements: str | None = None
    choices: tuple[str, ...] = ()
    # Of a mapping, or of each mapping in a list.
    keys: Mapping[str, Key] = MappingProxyType({})


class Key(NamedTuple):
    """A key, with one sentence on what it is for and an example."""

    type: Type
    says: str
    example: Any
    default: Any = None
    # What applies without it, if no default can express that.
    unset: str = ""
    # What to write if it is missing; without this it is optional.
    needed: str = ""
    # What to write for an instance of the other kind.
    instead: str = "leave it out"
    secret: bool = False
    # Whether each instance needs a value of its own, so that there can't be a default in the inventory.
    single: bool = False
    # Whether the plan hands it to the role lab or hub under this name.
    handed: bool = True


def readers(keys: Mapping[str, Key]) -> dict[str, Reader]:
    return {name: key.type.read for name, key in keys.items()}


def mapping_of(keys: Mapping[str, Key], foreign: Mapping[str, str] = MappingProxyType({})) -> Reader:
    """Reads what is given."""
    return mapping(readers(keys), foreign)


def record_of(keys: Mapping[str, Key]) -> Reader:
    """Reads every key: None for what is not given."""
    return record(readers(keys), {name: key.needed for name, key in keys.items() if key.needed})


def filled(keys: Mapping[str, Key], values: Mapping[str, Any]) -> dict[str, Any]:
    """Every key, with the default of those that are not given."""
    given = ((name, key, values.get(name)) for name, key in keys.items())
    return {name: copy.deepcopy(key.default) if value is None else value for name, key, value in given}
