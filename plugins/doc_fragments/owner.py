# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  account:
    description:
      - The account of the rootless engine that runs the containers. O(uid) and O(gid) are then ids in the containers,
        and are mapped through C(/etc/subuid) and C(/etc/subgid).
      - Left out, they are ids of the host.
    type: str
  uid: {description: Id of the user that owns the directories., type: int, default: 1000}
  gid: {description: Id of the group that owns the directories., type: int, default: 100}
"""
