# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Choose each user's domain. JupyterHub's own function has only 28 bits for names that are not valid labels."""

from __future__ import annotations

import hashlib

from jupyterhub.utils import subdomain_hook_idna

DIGITS = 32  # of the digest; a label has at most 63 characters, and up to 12 come before the digest


def subdomain(name: str, domain: str, kind: str) -> str:
    """Do the same as JupyterHub, but so that nobody can choose a name that gets another user's domain."""
    label, _dot, rest = str(subdomain_hook_idna(name, domain, kind)).partition(".")
    start, dashes, _short = label.rpartition("--")
    # Without dashes it is the name itself. With xn-- it is the name in another spelling.
    if kind != "user" or not dashes or not start.startswith("u-"):
        return f"{label}.{rest}"
    return f"{start}--{hashlib.sha256(name.encode()).hexdigest()[:DIGITS]}.{rest}"
