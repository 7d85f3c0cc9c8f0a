# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read log-ins that `docker login` wrote into an account's home."""

from __future__ import annotations

import os

from ansible_collections.carrel.jupyter.plugins.module_utils._engine import docker_login
from ansible_collections.carrel.jupyter.plugins.module_utils._host import files

LONGEST = 2**20


def path(home: str) -> str:
    """Return the file's path. Links above the home are resolved: /home may be a link that the administrator made."""
    return f"{os.path.realpath(os.path.dirname(home))}/{os.path.basename(home)}/.docker/config.json"


def read(home: str) -> tuple[dict[str, dict[str, str]], bool]:
    """Return the log-ins that root may use, and whether there are others. Raises as files.read, and ValueError."""
    file = files.read(path(home), LONGEST)
    return docker_login.usable(file.content) if file else ({}, False)
