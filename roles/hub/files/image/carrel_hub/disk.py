# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The notice for users whose folders are nearly full, on the hub's pages."""

from __future__ import annotations

import logging
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._shared import disk

from .files import DIRECTORY, Unusable, read_json
from .people import read_roster

log = logging.getLogger(__name__)


def notice_of(user: Any) -> str | None:
    """For the hub's templates: it calls what it finds in template_vars with the user, who is None before a log-in."""
    return notice(user.name) if user else None


def notice(name: str) -> str | None:
    """None also while nobody has measured, or if a file can't be read: no page fails for this."""
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
