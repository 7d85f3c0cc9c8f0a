# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Map the ids of a container's user to ids on the host."""

from __future__ import annotations

import pwd
from pathlib import Path

from ansible_collections.carrel.jupyter.plugins.module_utils._engine.ids import host_id
from ansible_collections.carrel.jupyter.plugins.module_utils._engine.subordinate_ids import FILES

# The options in the documentation fragment carrel.jupyter.hub_users.
ARGUMENTS = {
    "account": {"type": "str"},
    "uid": {"type": "int", "default": 1000},
    "gid": {"type": "int", "default": 100},
    "allow_empty": {"type": "bool", "default": False},
}


def host_ids(account: str | None, uid: int, gid: int) -> tuple[int, int]:
    """Return uid and gid on the host. A ValueError says what is missing."""
    if account is None:
        return uid, gid
    try:
        entry = pwd.getpwnam(account)
    except KeyError:
        raise ValueError(f"there is no account {account!r}: create the engine first (role rootless_docker)") from None
    subuid, subgid = (Path(FILES[kind]).read_text(encoding="utf-8", errors="replace") for kind in ("uid", "gid"))
    return (
        host_id(uid, account, entry.pw_uid, entry.pw_uid, subuid),
        host_id(gid, account, entry.pw_uid, entry.pw_gid, subgid),
    )
