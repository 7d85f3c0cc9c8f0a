# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether an instance that is removed has a directory. Only its record proves that."""

from __future__ import annotations

from ansible_collections.carrel.jupyter.plugins.module_utils._host import files
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.facts import parse_instance

STATE = "/var/lib/carrel/{}"


def owns(name: str, directory: str) -> bool:
    """Whether DIRECTORY is the instance's. A removal that is killed leaves the record until all else is done.

    Raises ValueError for a record that is broken, or names another directory.
    """
    path = f"{STATE.format(name)}/instance.json"
    text = files.read_text(path)
    if text is None:
        return False
    lives = parse_instance(text).get("directory") or directory
    if lives != directory:
        raise ValueError(f"{path} says that it lives in {lives}, not in {directory}")
    return True


def stays(name: str, directory: str) -> str:
    return (
        f"{name}: {directory} stays as it is, because no {STATE.format(name)}/instance.json says that it is an"
        " instance's. If a first run that failed has left it, move it away yourself"
    )
