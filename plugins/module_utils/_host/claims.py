# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is changing an instance's containers in several steps, such as a run of the site playbook.

A reset is one process and holds a lock. A playbook is many, so it claims the instance: it writes down until when, and
then waits for the lock. A reset that has the lock looks for a claim, and gives way to it. A claim ends by itself, so
that a playbook that was killed keeps no reset out for long, and at a reboot.

The programs for resets and backups link to this file, so it uses only the standard library.
"""

from __future__ import annotations

import json
import time

# Only root writes here; accounts read.
FILE = "/run/carrel/claims/{}"


def claim(who: str, seconds: float) -> bytes:
    """The content of the file of a claim that holds for so long."""
    return json.dumps({"who": who, "until": now() + seconds}).encode()


def claimant(name: str) -> str | None:
    """Who claims the instance now."""
    try:
        with open(FILE.format(name), encoding="utf-8") as file:
            content = json.load(file)
        return str(content["who"]) if now() < content["until"] else None
    except FileNotFoundError:
        return None


def now() -> float:
    """Seconds since the boot, which no change of the clock moves."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
