# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Claim an instance, to change its containers in several steps, as the site playbook does.

A reset is one process and holds a lock. A playbook consists of many processes, so it claims the instance: it writes
until when the claim lasts, and then waits for the lock. A reset that gets the lock checks for a claim, and gives way.
A claim ends by itself, so that a killed playbook does not prevent resets for long. It also ends at a reboot.

The programs for resets and backups link to this file, so it uses only the standard library.
"""

from __future__ import annotations

import json
import time

# Only root writes here. Accounts read it.
FILE = "/run/carrel/claims/{}"


def claim(who: str, seconds: float) -> bytes:
    """Return the file's content for a claim that lasts this long."""
    return json.dumps({"who": who, "until": now() + seconds}).encode()


def claimant(name: str) -> str | None:
    """Return who claims the instance now."""
    try:
        with open(FILE.format(name), encoding="utf-8") as file:
            content = json.load(file)
        return str(content["who"]) if now() < content["until"] else None
    except FileNotFoundError:
        return None


def now() -> float:
    """Return the seconds since the boot, which do not depend on the clock."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
