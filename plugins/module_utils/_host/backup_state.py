# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read a backup's settings and state, for the status."""

from __future__ import annotations

import os
from datetime import datetime, timezone
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._host import files
from ansible_collections.carrel.jupyter.plugins.module_utils._host.locks import locked
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.facts import parse_instance
from ansible_collections.carrel.jupyter.plugins.module_utils._report import backups


def read(root: str, name: str) -> dict[str, Any] | None:
    """Return what is known about an instance's backups. None if it has none."""
    settings = os.path.join(root, "etc/carrel/backup", f"{name}.json")
    folder = os.path.join(root, "var/lib/carrel", name, "backup")
    text = files.read_text(settings)
    if text is None:
        return None
    since = datetime.fromtimestamp(os.stat(settings).st_mtime, timezone.utc)
    kept = _kept(root, str(parse_instance(text).get("directory", "")))
    state = files.read_text(f"{folder}/state.json") if kept is None else kept
    return backups.read(text, state, locked(f"{folder}/lock"), since)


def _kept(root: str, directory: str) -> str | None:
    """Return the state that came back with the instance from the archive, until carrel-backup moves it to its place."""
    return files.read_text(os.path.join(root, f"{directory.lstrip('/')}/.backup/state.json"))
