# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The settings of one instance's backup: /etc/carrel/backup/NAME.json and NAME.secrets.json, which only root writes."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from . import files, jobs

FOLDER = "/etc/carrel/backup"
VERSION = 1


@dataclasses.dataclass(frozen=True)
class Settings:
    """As docs/contributing/architecture.md describes them, under "A backup"."""

    version: int
    name: str
    kind: str
    host: str  # its name in the inventory
    account: str
    directory: str
    socket: str
    state_directory: str
    run_directory: str
    repository: str
    subuid: dict[str, int]
    subgid: dict[str, int]
    token_file: str | None
    exclude: list[str]
    keep: dict[str, int]
    append_only: bool
    deadline_seconds: int
    password: str = dataclasses.field(repr=False)
    environment: dict[str, str] = dataclasses.field(repr=False)

    @property
    def local(self) -> bool:
        """Whether the repository is a directory of this host."""
        return self.repository.startswith("/")


_TYPES: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "str": (str,),
    "bool": (bool,),
    "str | None": (str, type(None)),
    "list[str]": (list,),
    "dict[str, int]": (dict,),
    "dict[str, str]": (dict,),
}


def load(name: str) -> Settings:
    """Read and check the settings of an instance."""
    return of(jobs.load("backup", FOLDER, name, _read, problems))


def _read(path: str) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for file in (path, f"{path.removesuffix('.json')}.secrets.json"):
        content.update(json.loads(files.read(file)))
    return content


def of(content: dict[str, Any]) -> Settings:
    """Settings from data in which problems() finds nothing; keys that this version does not know are left out."""
    return Settings(**{field.name: content[field.name] for field in dataclasses.fields(Settings)})


def problems(content: dict[str, Any]) -> list[str]:
    """All problems of the settings. No message has a secret."""
    found = []
    for field in dataclasses.fields(Settings):
        if field.name not in content:
            found.append(f"{field.name} is missing")
        elif not isinstance(content[field.name], _TYPES[str(field.type)]):
            found.append(f"{field.name} must be of the type {field.type}")
    if found:
        return found
    if content["version"] != VERSION:
        found.append(f"version is {content['version']}, this program reads {VERSION}")
    if content["kind"] not in ("lab", "hub"):
        found.append(f"kind is {content['kind']!r}, not lab or hub")
    for key in ("directory", "socket", "state_directory", "run_directory"):
        if not content[key].startswith("/"):
            found.append(f"{key} must be an absolute path, not {content[key]!r}")
    for key in ("subuid", "subgid"):
        if not all(isinstance(content[key].get(part), int) for part in ("start", "count")):
            found.append(f"{key} must have start and count")
    if not content["password"]:
        found.append("password is empty")
    return found
