#!/usr/bin/python
# Copyright: the carrel.jupyter authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: subordinate_ids
short_description: Give accounts one range of subordinate uids and gids each
version_added: 0.1.0
author:
  - the carrel.jupyter authors (@carrel)
description:
  - Ensures that each account has exactly one range in C(/etc/subuid) and one in C(/etc/subgid). The ranges overlap no
    other one and contain no id of an account or group of the host. Rootless containers need such ranges.
  - A new range avoids ids that a name service such as SSSD finds but does not list. Only samples of the range are
    looked up; to be sure, set C(SUB_UID_MIN) and the like in C(/etc/login.defs).
  - A good range is kept as it is. An account without a range gets the lowest free one, through C(usermod).
  - A range that is too small or overlaps another, and several ranges of one account, are errors with advice. They are
    never repaired, because files belong to these ids already.
extends_documentation_fragment:
  - carrel.jupyter.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  accounts:
    description:
      - The accounts' names. Name all of them in one call.
      - In check mode an account may be missing.
    type: list
    elements: str
    required: true
  count:
    description: The number of ids of a new range, and the least number of an existing one.
    type: int
    default: 65536
notes:
  - Accounts whose ranges do not come from the two files (C(subid) in C(/etc/nsswitch.conf)) are not supported.
seealso:
  - module: carrel.jupyter.rootless_docker_engines
"""

EXAMPLES = r"""
- name: Give subordinate ids to two accounts
  carrel.jupyter.subordinate_ids:
    accounts: [ada, grace]
  register: ids

- name: Show the uid on the host of the uid 1000 in the containers of ada
  ansible.builtin.debug:
    msg: "{{ ids.ranges.ada.uid.start + 1000 - 1 }}"
"""

RETURN = r"""
ranges:
  description: The range of each account; in check mode also the range that it would get.
  returned: success
  type: dict
  sample:
    ada:
      uid: {start: 100000, count: 65536}
      gid: {start: 100000, count: 65536}
"""

import grp
import pwd
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrel.jupyter.plugins.module_utils._changes.tracker import Tracker
from ansible_collections.carrel.jupyter.plugins.module_utils._engine.subordinate_ids import (
    FILES,
    WIDE_STRIDE,
    Plan,
    Range,
    Side,
    around,
    asks_elsewhere,
    inhabited,
    make_plan,
    parse,
    parse_login_defs,
    probes,
)


def read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""


def known(kind: str, one: int) -> bool:
    """Whether any name service has an account or group of this id."""
    try:
        pwd.getpwuid(one) if kind == "uid" else grp.getgrgid(one)
    except KeyError:
        return False
    return True


def plan_now(module: AnsibleModule, probed: bool = True) -> Plan:
    """The plan; with `probed`, new ranges keep clear of ids that a name service finds and does not list."""
    blocked: dict[str, tuple[Range, ...]] = dict.fromkeys(FILES, ())
    while True:
        plan = plan_around(module, blocked)
        found = {
            kind: {
                around(one)
                for added in plan.additions.values()
                if kind in added
                for one in probes(added[kind])
                if known(kind, one)
            }
            for kind in FILES
        }
        if not probed or not any(found.values()):
            return plan
        blocked = {kind: (*blocked[kind], *sorted(found[kind])) for kind in FILES}


def inhabited_ranges(plan: Plan) -> Iterator[str]:
    """Warnings: a directory service that came after a range, or has ids that were not expected."""
    if not asks_elsewhere(read("/etc/nsswitch.conf")):
        return
    for name, ranges in plan.ranges.items():
        for kind, ids in ranges.items():
            if kind in plan.additions.get(name, {}):
                continue
            if one := next((one for one in probes(ids, WIDE_STRIDE) if known(kind, one)), None):
                yield inhabited(kind, name, ids, one)


def plan_around(module: AnsibleModule, blocked: dict[str, tuple[Range, ...]]) -> Plan:
    login_defs = read("/etc/login.defs")
    users = pwd.getpwall()
    taken = {
        "uid": frozenset(user.pw_uid for user in users),
        "gid": frozenset(group.gr_gid for group in grp.getgrall()) | {user.pw_gid for user in users},
    }
    sides = {
        kind: Side(parse(read(path)), taken[kind], parse_login_defs(login_defs, kind), blocked[kind])
        for kind, path in FILES.items()
    }
    accounts: dict[str, int | None] = {}
    for name in module.params["accounts"]:
        try:
            accounts[name] = pwd.getpwnam(name).pw_uid
        except KeyError:
            if not module.check_mode:
                module.fail_json(msg=f"there is no account {name!r}: create it first (ansible.builtin.user)")
            accounts[name] = None
    plan = make_plan(accounts, sides, module.params["count"])
    if plan.problems:
        module.fail_json(msg="\n".join(plan.problems))
    return plan


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "accounts": {"type": "list", "elements": "str", "required": True},
            "count": {"type": "int", "default": 65536},
        },
        supports_check_mode=True,
    )
    plan = plan_now(module)
    for text in inhabited_ranges(plan):
        module.warn(text)
    tracker = Tracker()
    for name, added in plan.additions.items():
        command = ["usermod"]
        for kind, ids in added.items():
            tracker.note(FILES[kind], None, f"{name}:{ids}\n")
            command += [f"--add-sub{kind}s", f"{ids.start}-{ids.last}"]
        if not module.check_mode:
            module.run_command([*command, name], check_rc=True)
    if plan.additions and not module.check_mode:
        # Ids may have been taken meanwhile; usermod does not check.
        after = plan_now(module, probed=False)
        if after.additions:
            module.fail_json(msg=f"usermod did not add what it was asked for: {', '.join(after.additions)}")
    ranges = {name: {kind: asdict(ids) for kind, ids in both.items()} for name, both in plan.ranges.items()}
    module.exit_json(**tracker.result(ranges=ranges))


if __name__ == "__main__":
    main()
