# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The mounts file, whole or without what a host does not have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

USERS = "users"


def _entries(content: Mapping[str, Any]) -> list[list[dict[str, str]]]:
    return [content["everyone"], *(group["mounts"] for group in content["groups"].values())]


def sources(content: Mapping[str, Any], path: str) -> set[str]:
    """Return the directories in PATH that are mounted, without those of users."""
    return {entry["source"] for entries in _entries(content) for entry in entries} - {f"{path}/{USERS}"}


def without(content: Mapping[str, Any], gone: set[str]) -> dict[str, Any]:
    """Return the same content without the mounts of these directories."""

    def kept(entries: Iterable[dict[str, str]]) -> list[dict[str, str]]:
        return [entry for entry in entries if entry["source"] not in gone]

    groups = {name: {**group, "mounts": kept(group["mounts"])} for name, group in content["groups"].items()}
    return {**content, "everyone": kept(content["everyone"]), "groups": groups}
