# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Readers: each takes a raw YAML value, records what is wrong with it, and returns the checked value or INVALID."""

from __future__ import annotations

import enum
import math
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from ansible_collections.carrel.jupyter.plugins.module_utils._plan.nearest import nearest
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.problems import Problems, kind_of, show


class Invalid(enum.Enum):
    INVALID = "invalid"


# Replaces a value whose problem is reported already, so that nobody reports it again.
INVALID: Final = Invalid.INVALID


class Computed(str):
    """Text from a template or a CSV file. Keys that need a number or a truth value convert it."""

    def plain(self) -> str | int | float | bool:
        if re.fullmatch(r"-?[0-9]{1,18}", self):
            return int(self)
        if re.fullmatch(r"-?[0-9]{1,18}\.[0-9]{1,18}", self):
            return float(self)
        return self.lower() == "true" if self.lower() in ("true", "false") else str(self)


Reader = Callable[[Any, str, Problems], Any]


def given(value: object) -> bool:
    """Whether there is a value without a problem."""
    return value is not None and value is not INVALID


def known(items: Any) -> list[Any]:
    """Return the items of a list that have no problem."""
    return [item for item in items if item is not INVALID] if isinstance(items, list) else []


def read(reader: Reader, value: object, path: str, problems: Problems) -> Any:
    return INVALID if value is INVALID else reader(value, path, problems)


def has_control(text: str) -> bool:
    """Whether there are control characters, or lone surrogates, which no file can contain."""
    return any(ord(char) < 32 or 127 <= ord(char) < 160 or 0xD800 <= ord(char) < 0xE000 for char in text)


def plain(value: Any) -> Any:
    return value.plain() if isinstance(value, Computed) else value


def wrong_type(value: object, wanted: str, path: str, problems: Problems) -> Invalid:
    problems.add(path, "wrong_type", got=kind_of(value), wanted=wanted)
    return INVALID


def anything(value: Any, path: str, problems: Problems) -> Any:
    return value


def text(wanted: str, multiline: bool = False) -> Reader:
    """Return a reader of text that is not empty."""

    def reader(value: Any, path: str, problems: Problems) -> str | Invalid:
        if not isinstance(value, str):
            return wrong_type(value, wanted, path, problems)
        if not value.strip():
            problems.add(path, "empty", wanted=wanted)
            return INVALID
        if has_control(value.translate({9: None, 10: None, 13: None}) if multiline else value):
            problems.add(path, "control_character")
            return INVALID
        return str(value)

    return reader


def choice(*options: str) -> Reader:
    def reader(value: Any, path: str, problems: Problems) -> str | Invalid:
        wanted = ", ".join(options[:-1]) + " or " + options[-1] if len(options) > 1 else options[0]
        if not isinstance(value, str):
            return wrong_type(value, wanted, path, problems)
        if value not in options:
            problems.add(path, "choice", value=show(value), options=wanted)
            return INVALID
        return str(value)

    return reader


def whole(low: int, high: int) -> Reader:
    def reader(value: Any, path: str, problems: Problems) -> int | Invalid:
        wanted = "a whole number"
        value = plain(value)
        if isinstance(value, bool) or not isinstance(value, int):
            return wrong_type(value, f"{wanted} from {low} to {high}", path, problems)
        if not low <= value <= high:
            problems.add(path, "range", value=show(value), wanted=wanted, low=low, high=high)
            return INVALID
        return int(value)

    return reader


def number(low: float, high: float) -> Reader:
    def reader(value: Any, path: str, problems: Problems) -> float | Invalid:
        wanted = "a number"
        value = plain(value)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return wrong_type(value, f"{wanted} from {low} to {high}", path, problems)
        if (isinstance(value, float) and math.isnan(value)) or not low <= value <= high:
            problems.add(path, "range", value=show(value), wanted=wanted, low=low, high=high)
            return INVALID
        return float(value)

    return reader


def boolean(value: Any, path: str, problems: Problems) -> bool | Invalid:
    value = plain(value)
    return value if isinstance(value, bool) else wrong_type(value, "true or false", path, problems)


def listing(item: Reader, wanted: str) -> Reader:
    """Return a reader of a list. Bad items become INVALID."""

    def reader(value: Any, path: str, problems: Problems) -> list[Any] | Invalid:
        if not isinstance(value, list):
            return wrong_type(value, wanted, path, problems)
        return [read(item, entry, f"{path}[{index}]", problems) for index, entry in enumerate(value)]

    return reader


def _shown_key(key: object) -> str:
    """Return the key if it looks like one: in YAML, {password=secret} is a key, too."""
    if not isinstance(key, str):
        return kind_of(key)
    return show(str(key))[1:-1] if re.fullmatch(r"[\w-]{1,40}", key) else "(a text that is no key)"


def mapping(keys: Mapping[str, Reader], foreign: Mapping[str, str] = MappingProxyType({})) -> Reader:
    """Return a reader of a mapping. The result has the keys that are given: with INVALID for bad values, None for null.

    FOREIGN has advice for keys that people know from elsewhere.
    """

    def reader(value: Any, path: str, problems: Problems) -> dict[str, Any] | Invalid:
        if not isinstance(value, Mapping):
            return wrong_type(value, "a mapping of " + ", ".join(keys), path, problems)
        result: dict[str, Any] = {}
        for key, item in value.items():
            if isinstance(key, str) and key in keys:
                here = f"{path}.{key}"
                result[str(key)] = None if item is None else read(keys[key], item, here, problems)
                continue
            here = f"{path}.{_shown_key(key)}"
            if isinstance(key, str) and key in foreign:
                problems.add(here, "compose_key", instead=foreign[key])
                continue
            near = nearest(str(key), keys) if isinstance(key, str) else None
            if near:
                problems.add(here, "unknown_key", near=near)
                # Most likely this key is meant, so its value is checked, too. It may be a secret, so it is not shown.
                if near not in value and near not in result:
                    result[near] = None if item is None else read(keys[near], item, here, problems.hiding())
            else:
                problems.add(here, "unknown_key_far", known=", ".join(keys))
        return result

    return reader


def record(keys: Mapping[str, Reader], required: Mapping[str, str]) -> Reader:
    """Return a reader of a mapping whose result has every key: None if not given, INVALID if bad or missing."""
    inner = mapping(keys)

    def reader(value: Any, path: str, problems: Problems) -> dict[str, Any] | Invalid:
        values = inner(value, path, problems)
        if isinstance(values, Invalid):
            return values
        for key, wanted in required.items():
            if values.get(key) is None:
                problems.add(f"{path}.{key}", "missing", wanted=wanted)
                values[key] = INVALID
        return {key: values.get(key) for key in keys}

    return reader


def json_data(value: Any, path: str, problems: Problems) -> Any:
    """Read plain data. It is INVALID as a whole if JSON cannot represent a part."""
    if value is None or value is INVALID or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    if isinstance(value, str):
        return str(value)
    if isinstance(value, list):
        items = [json_data(item, f"{path}[{index}]", problems) for index, item in enumerate(value)]
        return INVALID if any(item is INVALID for item in items) else items
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        keys = {str(key): json_data(item, path, problems) for key, item in value.items()}
        return INVALID if any(item is INVALID for item in keys.values()) else keys
    return wrong_type(value, "what JSON has: text, numbers, true, false, null, lists and mappings", path, problems)
