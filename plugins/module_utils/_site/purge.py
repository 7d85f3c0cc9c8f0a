# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find what is left of a removed instance, and reasons not to delete it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._engine.subordinate_ids import Range

# The role rootless_docker makes accounts with this comment.
COMMENT = "rootless Docker engine of carrel.jupyter"


def made_by_role(gecos: str) -> bool:
    """Whether the role made an account. chfn(1) appends fields after commas."""
    return gecos.split(",")[0] == COMMENT


def kept(name: str, home: str) -> str:
    """Return the warning for an account that may belong to a person."""
    return (
        f"the account {name} is kept with {home} and its subordinate ids, because its comment does not say that the"
        f" role rootless_docker made it. If nobody needs it: loginctl terminate-user {name}; userdel --remove {name}"
    )


def left_open(path: str, why: str) -> str:
    """Return the warning for a repository that the account's successor could read and delete."""
    return f"the backup repository {path} was not given to root: {why}. Do it yourself: chown root:root {path}"


def archives(name: str, found: Iterable[str]) -> list[str]:
    """Return an instance's archives from the names in the folder of archives."""
    pattern = re.compile(rf"{re.escape(name)}-\d{{8}}T\d{{6}}Z")
    return sorted(entry for entry in found if pattern.fullmatch(entry))


def problems(name: str, instances: Mapping[str, Mapping[str, Any]], others: Iterable[str]) -> list[str]:
    """Return why nothing may be deleted.

    INSTANCES are the host's. OTHERS are archives of other instances that belong to the same account.
    """
    users = sorted(other for other, record in instances.items() if name in (other, record.get("engine")))
    found = [f"{user} is on this host: give it state: absent and run the site playbook first" for user in users]
    return found + [
        f"the archive {other} has files of the account {name}: purge its instance first, or move it away"
        for other in sorted(others)
    ]


def within(number: int, ranges: Iterable[Range]) -> bool:
    return any(found.start <= number <= found.last for found in ranges)


def mounted(mountinfo: str, trees: Sequence[str]) -> list[str]:
    """Return mount points that are or are in these directories. MOUNTINFO is as in proc(5), with blanks in octal."""
    fields = [line.split(" ")[4] for line in mountinfo.splitlines()]
    points = {re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field) for field in fields}
    return sorted(point for point in points if any(f"{point}/".startswith(f"{tree}/") for tree in trees))
