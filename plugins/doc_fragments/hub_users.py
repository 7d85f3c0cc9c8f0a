# Copyright: the carrel.jupyter authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  account:
    description:
      - The account of the rootless engine that runs the containers. O(uid) and O(gid) are then ids in the containers,
        and are mapped through C(/etc/subuid) and C(/etc/subgid).
      - Without it, they are ids of the host.
    type: str
  uid: {description: Id of the user that owns users' directories., type: int, default: 1000}
  gid: {description: Id of the group that owns users' directories., type: int, default: 100}
  allow_empty:
    description: Accept an empty list of users, which is usually a mistake.
    type: bool
    default: false
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
author:
  - the carrel.jupyter authors (@carrel)
notes:
  - Everything is done through file descriptors, and no link is followed.
  - If a run is killed, or stopped by a full disk, the next one completes it.
"""
