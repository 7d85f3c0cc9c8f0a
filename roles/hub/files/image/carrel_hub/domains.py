# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The domain of each user. A function of its own, because JupyterHub's gives names that are no good labels 28 bits."""

from __future__ import annotations

import hashlib

from jupyterhub.utils import subdomain_hook_idna

DIGITS = 32  # of the digest; a label has 63 characters, and up to 12 come before it


def subdomain(name: str, domain: str, kind: str) -> str:
    """As JupyterHub's, but nobody can choose a name to get the domain of somebody else."""
    label, _dot, rest = str(subdomain_hook_idna(name, domain, kind)).partition(".")
    start, dashes, _short = label.rpartition("--")
    # Without dashes it is the name itself; with xn-- it is the name, too, in another spelling.
    if kind != "user" or not dashes or not start.startswith("u-"):
        return f"{label}.{rest}"
    return f"{start}--{hashlib.sha256(name.encode()).hexdigest()[:DIGITS]}.{rest}"
