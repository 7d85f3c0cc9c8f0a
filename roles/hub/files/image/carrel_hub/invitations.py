# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Codes with which listed people without a password create their accounts. Administrators hand them out."""

from __future__ import annotations

import base64
import hashlib
import hmac

from .files import read_state, write_state

USED = "invitations.json"  # by name: how many accounts were removed. People who left know the old codes.


def code(key: bytes, name: str) -> str:
    count = int(read_state(USED).get(name, 0))
    digest = hmac.new(key, f"invitation\0{name}\0{count}".encode(), hashlib.sha256).digest()
    text = base64.b32encode(digest[:10]).decode().lower()
    return "-".join(text[place : place + 4] for place in range(0, len(text), 4))


def fits(key: bytes, name: str, given: str) -> bool:
    return hmac.compare_digest(code(key, name).encode(), given.strip().lower().encode())


def renew(name: str) -> None:
    """Make the next account of this name need another code."""
    used = read_state(USED)
    write_state(USED, {**used, name: int(used.get(name, 0)) + 1})
