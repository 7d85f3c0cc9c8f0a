# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A notice on the hub's pages for users whose folders are nearly full."""

from __future__ import annotations

import logging
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._shared import disk

from .files import DIRECTORY, Unusable, read_json
from .people import read_roster

log = logging.getLogger(__name__)


def notice_of(user: Any) -> str | None:
    """Return the notice for the hub's templates, which pass the user. This is None before a log-in."""
    return notice(user.name) if user else None


def notice(name: str) -> str | None:
    """Return the notice. None also if nothing was measured yet or a file cannot be read, so that no page fails."""
    path = DIRECTORY / "disk.json"
    if not path.exists():
        return None
    try:
        use = disk.uses(read_json(path)).get(name)
        if use is None:
            return None
        limits = read_roster().limits(name, read_json(DIRECTORY / "config.json")["limits"])
    except (Unusable, ValueError, LookupError) as error:
        log.warning("nobody is told of full folders: %s", error)
        return None
    return disk.notice(use, limits)
