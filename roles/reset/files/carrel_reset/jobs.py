# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What resets and backups have in common: settings, a file for each instance that only root writes, and times."""

from __future__ import annotations

import datetime
import os
import re
from collections.abc import Callable
from typing import Any

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


class SettingsError(Exception):
    """The settings are missing or wrong; the text says how."""


def now() -> str:
    """UTC, as ISO 8601."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


def load(
    what: str, folder: str, name: str, read: Callable[[str], Any], problems: Callable[[Any], list[str]]
) -> dict[str, Any]:
    """Read and check the settings of an instance in FOLDER. Errors say WHAT they are for."""
    if not NAME.fullmatch(name):
        raise SettingsError(f"{name!r} is not a name for an instance: letters a-z, digits and hyphens")
    path = os.path.join(folder, f"{name}.json")
    try:
        content = read(path)
    except FileNotFoundError as error:
        known = ", ".join(names(folder)) or "none"
        raise SettingsError(
            f"there is no {what} for {name}: {error.filename} is missing (instances that have one: {known})"
        ) from error
    except (OSError, ValueError, TypeError) as error:
        raise SettingsError(f"{path}: {error}; run the site playbook again") from error
    wrong = problems(content)
    if not wrong and content["name"] != name:
        wrong = [f"it belongs to the instance {content['name']}"]
    if wrong:
        raise SettingsError(f"{path}: {'; '.join(wrong)}; run the site playbook again")
    found: dict[str, Any] = content
    return found


def names(folder: str) -> list[str]:
    """The instances that have settings."""
    try:
        found = sorted(os.listdir(folder))
    except OSError:
        return []
    return [file[:-5] for file in found if file.endswith(".json") and NAME.fullmatch(file[:-5])]
