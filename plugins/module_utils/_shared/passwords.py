# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Passwords that another hub has hashed."""

from __future__ import annotations

import re

# The cost ends at 15: with 31, one check would take days.
_BCRYPT = re.compile(r"\$2[aby]\$(0[4-9]|1[0-5])\$[./A-Za-z0-9]{53}")
_HASHES = ("$2a$", "$2b$", "$2x$", "$2y$", "$argon2", "$5$", "$6$", "$y$", "scrypt:")


def is_bcrypt(text: str) -> bool:
    """Whether it is the hash of a password, as NativeAuthenticator has them."""
    return _BCRYPT.fullmatch(text) is not None


def is_other_hash(text: str) -> bool:
    """Whether it is a hash that no hub here can check. As a password, it would let in whoever has seen it."""
    return text.startswith(_HASHES) and not is_bcrypt(text)
