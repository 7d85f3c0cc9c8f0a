# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""An identity provider's name as a plain one: Ada.Lovelace@uni.example becomes ada-lovelace--uni-example.

Needs only Python's standard library: the plan uses it on the control node, the hub's authenticator at every log-in.
"""

from __future__ import annotations

from collections.abc import Iterable

LONGEST = 31  # what useradd takes as well
LONGEST_IDENTITY = 1000
GROUP = "group:"
# How much stays of the name before a domain that is too long to be kept.
_LOCAL = 15


def normalize(raw: str) -> str:
    """Lower case, no commas and spaces, -- for @, - for a dot, cut to 31 characters before the domain.

    Different names can become the same one: who uses this must compare the names that went in.
    """
    name = raw.lower().replace(",", "").replace(" ", "").replace(".", "-")
    local, at, domain = name.rpartition("@")
    if not at:
        return name[:LONGEST]
    local, tail = local.replace("@", "--"), f"--{domain}"
    room = LONGEST - len(tail)
    return (local[: room if room > 0 else _LOCAL] + tail)[:LONGEST]


def is_group(identity: str) -> bool:
    """Whether a name belongs to the server of a group. No authenticator gives a person this identity."""
    return identity.startswith(GROUP)


def same_identity(one: str, other: str) -> bool:
    """Whether two identities are the same. In logins and addresses, providers ignore upper and lower case.

    Both cases must agree. A Kelvin sign is no K for providers, but k in lower case.
    """
    one, other = one.strip(), other.strip()
    return one.lower() == other.lower() and one.upper() == other.upper()


def is_plain(identity: str) -> bool:
    """Whether it can be an identity: warnings and files have it, and a terminal shows it."""
    return len(identity) <= LONGEST_IDENTITY and identity.isprintable()


def prefix_of(name: str, prefixes: Iterable[str]) -> str | None:
    """The longest prefix that NAME begins with: of several authenticators, the one with it has the name."""
    return max((prefix for prefix in prefixes if name.startswith(prefix)), key=len, default=None)


def normalize_below(raw: str, prefixes: Iterable[str]) -> str:
    """As normalize, with the prefix of one of several authenticators: it stays whole, and takes no room.

    >>> normalize_below("sso-Anybody@students.uni-heidelberg.de", ["", "sso-"])
    'sso-any--students-uni-heidelberg-de'
    """
    name = raw.lower()
    prefix = prefix_of(name, prefixes) or ""
    return prefix + normalize(name[len(prefix) :])
