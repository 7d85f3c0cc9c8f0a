# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The record of whose the names of a hub's users are. The program of backups links to this file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Owner:
    identity: str
    since: int = 0  # seconds since 1970: what was archived or backed up until then is of somebody else


def parse(text: str) -> dict[str, Owner]:
    """Read the record of a hub. Raises ValueError."""
    try:
        content = json.loads(text)
        if content["version"] != 1:
            raise ValueError
        return {name: Owner(str(user["identity"]), int(user["since"])) for name, user in content["users"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise ValueError("is damaged, or is not of version 1: bring it back from a backup, or remove it") from error


def text(owners: Mapping[str, Owner]) -> str:
    users = {name: {"identity": owner.identity, "since": owner.since} for name, owner in owners.items()}
    return json.dumps({"version": 1, "users": users}, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
