# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is left of a removed instance, and what keeps it from being deleted."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any


def archives(name: str, found: Iterable[str]) -> list[str]:
    """Return those of an instance among the names in the folder of archives."""
    pattern = re.compile(rf"{re.escape(name)}-\d{{8}}T\d{{6}}Z")
    return sorted(entry for entry in found if pattern.fullmatch(entry))


def problems(name: str, instances: Mapping[str, Mapping[str, Any]], others: Iterable[str]) -> list[str]:
    """Return why nothing may be deleted.

    INSTANCES are the host's, OTHERS the archives of other instances that belong to the engine's account.
    """
    users = sorted(other for other, record in instances.items() if name in (other, record.get("engine")))
    found = [f"{user} is on this host: give it state: absent and run the site playbook first" for user in users]
    return found + [
        f"the archive {other} has files of the account {name}: purge its instance first, or move it away"
        for other in sorted(others)
    ]
