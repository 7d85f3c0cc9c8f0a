# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How an instance is deployed. After a failed run the settings of its reset may be newer."""

from __future__ import annotations

import dataclasses
import json
import os
import urllib.parse
from typing import Any

from . import files
from .jobs import SettingsError
from .settings import Settings


def record(settings: Settings) -> dict[str, Any] | None:
    """instance.json, which is written together with the compose project; None if there is none."""
    path = os.path.join(os.path.dirname(settings.state_directory), "instance.json")
    try:
        found = json.loads(files.read(path))
        if not isinstance(found["state"], str):
            raise TypeError(f"its state is {found['state']!r}")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SettingsError(f"{path}: {error}; run the site playbook again") from error
    result: dict[str, Any] = found
    return result


def as_deployed(settings: Settings) -> Settings:
    """The settings with the ports and the URL of the running instance."""
    found = record(settings) or {}
    ports = [found.get("port"), found.get("second_port")] if settings.kind == "lab" else [found.get("port")]
    changes: dict[str, Any] = {}
    if all(isinstance(port, int) and not isinstance(port, bool) for port in ports):
        changes["ports"] = ports
    if isinstance(found.get("url"), str):
        path = urllib.parse.urlsplit(found["url"]).path
        changes.update(url=found["url"], base_url=path or "/")
    return dataclasses.replace(settings, **changes)
