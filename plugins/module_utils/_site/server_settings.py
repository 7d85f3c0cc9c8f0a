# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The administrator's traits of jupyter_server: merge them into ours, and judge an image's answer about them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._plan.nearest import nearest

Traits = Mapping[str, Mapping[str, Any]]


def merged(own: Mapping[str, Any], ours: Mapping[str, Any]) -> dict[str, Any]:
    """Merge both. If a key is in both, mappings are merged, and otherwise OURS wins."""
    result = {**own, **ours}
    for key in own.keys() & ours.keys():
        if isinstance(own[key], Mapping) and isinstance(ours[key], Mapping):
            result[key] = merged(own[key], ours[key])
    return result


def problems(settings: Traits, answer: Mapping[str, Any]) -> list[str]:
    """Return everything that is wrong with the settings. ANSWER is what server_check.py printed in a container."""
    classes = {str(name): [str(trait) for trait in traits] for name, traits in answer["classes"].items()}
    found = list(_unknown(settings, classes, answer["said"] is None))
    found += [f"server_settings.{section}.{trait}: {text}" for section, trait, text in answer["refused"]]
    if answer["said"] is not None and not found:
        found.append(f"server_settings: the server does not start with them: {answer['said']}")
    return sorted(found)


def _unknown(settings: Traits, classes: Mapping[str, list[str]], complete: bool) -> Iterator[str]:
    """Report unknown classes and traits. COMPLETE: all extensions are loaded, so all classes are known."""
    for section, traits in settings.items():
        if section not in classes:
            if complete:
                yield f"server_settings.{section}: there is no class {section}{_hint(section, classes)}"
            continue
        for trait in traits:
            if trait not in classes[section]:
                hint = _hint(trait, classes[section])
                yield f"server_settings.{section}.{trait}: {section} has no trait {trait}{hint}"


def _hint(word: str, known: Iterable[str]) -> str:
    near = nearest(word, known)
    return f"; did you mean {near}?" if near else ""
