# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The settings of one instance's reset, /etc/carrel/reset/NAME.json, which only root writes."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from . import files, jobs

FOLDER = "/etc/carrel/reset"
VERSION = 1


@dataclasses.dataclass(frozen=True)
class Settings:
    """As docs/contributing/architecture.md describes them, under "The plan's result" (reset_jobs) and "A reset"."""

    version: int
    name: str
    kind: str
    engine: str
    directory: str
    url: str
    base_url: str
    ports: list[int]
    images: list[str]
    notebooks: str
    at: str | None
    timezone: str | None
    spread_minutes: int
    pull: bool
    pull_timeout_seconds: int
    people: str
    deadline_seconds: int
    notice_seconds: int
    drain_seconds: int
    start_timeout_seconds: int
    rotate_token: bool
    token_file: str | None
    prune_days: int
    before: list[str] | None
    after: list[str] | None
    command_seconds: int
    account: str
    socket: str
    state_directory: str
    compose_files: list[str]
    lead_seconds: int
    # Release 0.1.0 did not write it, and a run for some instances brings this program to the others' files.
    smoke_seconds: int = 0


_TYPES: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "str": (str,),
    "bool": (bool,),
    "str | None": (str, type(None)),
    "list[str]": (list,),
    "list[str] | None": (list, type(None)),
    "list[int]": (list,),
}


def load(name: str) -> Settings:
    """Read and check the settings of an instance."""
    return of(jobs.load("reset", FOLDER, name, lambda path: json.loads(files.read(path)), problems))


def of(content: dict[str, Any]) -> Settings:
    """Settings from data in which problems() finds nothing; keys that this version does not know are left out."""
    return Settings(**{each.name: content[each.name] for each in dataclasses.fields(Settings) if each.name in content})


def names() -> list[str]:
    """The instances that have settings."""
    return jobs.names(FOLDER)


def problems(content: object) -> list[str]:
    """All errors in the file."""
    if not isinstance(content, dict):
        return ["it is not an object"]
    found = []
    for field in dataclasses.fields(Settings):
        if field.name not in content:
            if field.default is dataclasses.MISSING:
                found.append(f"{field.name} is missing")
        elif not isinstance(content[field.name], _TYPES[str(field.type)]) or (
            field.type == "int" and (isinstance(content[field.name], bool) or content[field.name] < 0)
        ):
            found.append(f"{field.name} must be of the type {field.type}, not {content[field.name]!r}")
    if found:
        return found
    if content["version"] != VERSION:
        found.append(f"version is {content['version']}, this program reads {VERSION}")
    if content["people"] not in ("wait", "skip", "ignore"):
        found.append(f"people is {content['people']!r}, not wait, skip or ignore")
    ports = {"lab": 2, "hub": 1}.get(content["kind"])
    if ports is None:
        found.append(f"kind is {content['kind']!r}, not lab or hub")
    elif len(content["ports"]) != ports or not all(
        isinstance(port, int) and not isinstance(port, bool) for port in content["ports"]
    ):
        found.append(f"a {content['kind']} has {ports} ports, not {content['ports']!r}")
    for key in ("images", "compose_files", "before", "after"):
        if not all(isinstance(item, str) for item in content[key] or []):
            found.append(f"{key} must be a list of strings")
    for key in ("directory", "socket", "state_directory"):
        if not content[key].startswith("/"):
            found.append(f"{key} must be an absolute path, not {content[key]!r}")
    if not content["compose_files"]:
        found.append("compose_files is empty")
    if content["rotate_token"] and not content["token_file"]:
        found.append("rotate_token needs token_file")
    return found
