# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The declaration of an inventory key. Readers, the reference and the roles' argument_specs are made from it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from ansible_collections.carrel.jupyter.plugins.module_utils._plan.schema import Reader, mapping, record


class Type(NamedTuple):
    """How to read a value, and words that describe it."""

    read: Reader
    words: str
    # A value that is refused; the reference shows the message.
    bad: Any
    # The type after reading, as in argument_specs.
    argument: str = "str"
    elements: str | None = None
    choices: tuple[str, ...] = ()
    # The keys of a mapping, or of each mapping in a list.
    keys: Mapping[str, Key] = MappingProxyType({})


class Key(NamedTuple):
    """A key, with one sentence on what it is for and an example."""

    type: Type
    says: str
    example: Any
    default: Any = None
    # What applies without the key, if a default cannot express it.
    unset: str = ""
    # What to write if the key is missing. Empty: the key is optional.
    needed: str = ""
    # What to write for an instance of the other kind.
    instead: str = "leave it out"
    secret: bool = False
    # Whether each instance needs another value, so that jupyter_defaults cannot have the key.
    single: bool = False
    # Whether the plan passes the key to the role lab or hub under this name.
    handed: bool = True


def readers(keys: Mapping[str, Key]) -> dict[str, Reader]:
    return {name: key.type.read for name, key in keys.items()}


def mapping_of(keys: Mapping[str, Key], foreign: Mapping[str, str] = MappingProxyType({})) -> Reader:
    """Return a reader of the keys that are given."""
    return mapping(readers(keys), foreign)


def record_of(keys: Mapping[str, Key]) -> Reader:
    """Return a reader of every key, with None for keys that are not given."""
    return record(readers(keys), {name: key.needed for name, key in keys.items() if key.needed})


def filled(keys: Mapping[str, Key], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return every key, with defaults for those that are not given."""
    given = ((name, key, values.get(name)) for name, key in keys.items())
    return {name: copy.deepcopy(key.default) if value is None else value for name, key, value in given}
