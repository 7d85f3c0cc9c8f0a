# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of images, as Docker lists them. The reset program links to this file."""

from __future__ import annotations


def familiar(reference: str) -> str:
    """Return a reference without the parts that Docker leaves out for images of Docker Hub."""
    for default in ("docker.io/", "index.docker.io/", "library/"):
        reference = reference.removeprefix(default)
    return reference


def repository(reference: str) -> str:
    """Return the familiar form without tag and digest."""
    found = reference.partition("@")[0]
    if ":" in found.rpartition("/")[2]:
        found = found.rpartition(":")[0]
    return familiar(found)
