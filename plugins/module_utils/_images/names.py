# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of images, as Docker lists them."""

from __future__ import annotations


def familiar(reference: str) -> str:
    """Return a reference without the parts that Docker leaves out for images of Docker Hub."""
    for default in ("docker.io/", "index.docker.io/", "library/"):
        reference = reference.removeprefix(default)
    return reference
