# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From an id in a container of a rootless engine to the id on the host."""

from __future__ import annotations


def mapped_id(container_id: int, account_id: int, start: int, count: int) -> int:
    """0 is the account itself, N the Nth id of its range in /etc/subuid or /etc/subgid (newuidmap(1))."""
    if container_id == 0:
        return account_id
    if not 1 <= container_id <= count:
        raise ValueError(
            f"the container's id {container_id} is outside of the {count} ids that the engine's account has"
        )
    return start + container_id - 1
