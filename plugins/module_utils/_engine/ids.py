# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From an id in a container of a rootless engine to the id on the host."""

from __future__ import annotations

from ansible_collections.carrel.jupyter.plugins.module_utils._engine.subordinate_ids import parse


def mapped_id(container_id: int, account_id: int, start: int, count: int) -> int:
    """0 is the account itself, N the Nth id of its range in /etc/subuid or /etc/subgid (newuidmap(1))."""
    if container_id == 0:
        return account_id
    if not 1 <= container_id <= count:
        raise ValueError(
            f"the container's id {container_id} is outside of the {count} ids that the engine's account has"
        )
    return start + container_id - 1


def container_id(host: int, account_id: int, start: int, count: int) -> int | None:
    """The reverse of mapped_id; None if no container of the engine has this id."""
    if host == account_id:
        return 0
    return host - start + 1 if start <= host < start + count else None


def host_id(container_id: int, account: str, account_uid: int, account_id: int, subordinate: str) -> int:
    """The id on the host of an id in the engine's containers.

    ACCOUNT_ID is the account's uid or gid, SUBORDINATE the text of /etc/subuid or /etc/subgid; both name accounts by
    their name or their uid (subgid(5)).
    """
    ranges = [entry.ids for entry in parse(subordinate) if entry.owner in (account, str(account_uid))]
    if len(ranges) != 1:
        raise ValueError(
            f"the account {account} has {len(ranges)} ranges in /etc/subuid or /etc/subgid and needs one: "
            "see carrel.jupyter.subordinate_ids"
        )
    return mapped_id(container_id, account_id, ranges[0].start, ranges[0].count)
