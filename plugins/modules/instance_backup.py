#!/usr/bin/python
# Copyright: the carrel.jupyter authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: instance_backup
short_description: Back up an instance now, restore from its backups, or test a restore
version_added: 0.1.0
author: the carrel.jupyter authors (@carrel)
description:
  - Runs C(carrel-backup), which must be on the host (role carrel.jupyter.backup), and waits until it ends.
  - A restore never deletes the files that it replaces; it moves them aside. Without O(overwrite) nothing is replaced.
options:
  name:
    description: Name of the instance.
    type: str
    required: true
  command:
    description:
      - V(backup) makes a snapshot.
      - V(restore) puts a user, a group, a file or the whole instance in place as they were.
      - V(drill) restores a random part of a random recent snapshot, or of O(user) or O(group), into a throwaway
        directory, compares it, and starts a server on it that nobody else can reach.
    type: str
    choices: [backup, restore, drill]
    default: backup
  user:
    description: Only this user of a hub.
    type: str
  group:
    description: Only this group's directories of a hub. Not together with O(user).
    type: str
  snapshot:
    description: The snapshot, as an id, a time (C(2030-01-31), C(2030-01-31T12:00)), or V(latest).
    type: str
    default: latest
  path:
    description:
      - Restore only this file or folder; with O(user) or O(group) relative to their directory, otherwise as
        C(data/notebooks/FILE).
    type: str
  overwrite:
    description: Whether a restore may move existing files aside.
    type: bool
    default: false
  beside:
    description:
      - Whether a file or folder is restored into a new folder C(restored-DATE) beside the existing files, which are not
        touched.
    type: bool
    default: false
  stop:
    description:
      - Whether a restore may stop containers that use the files. It starts the instance's own containers again; people
        start their servers themselves.
    type: bool
    default: false
  image:
    description:
      - Whether the restore of a whole instance also restores the image of that time, by the registry's digest. The
        image gets its tag back, and the site playbook recreates the containers from it.
    type: bool
    default: false
  accept_damaged:
    description:
      - Whether a restore may leave out files that are damaged in the repository, or whose paths are too long to be
        written beside the instance. Warnings name them. Otherwise nothing is restored.
    type: bool
    default: false
    version_added: 0.3.0
  accept_size:
    description:
      - Whether a restore may begin though the sizes of its files exceed the space that it may use, because they are
        sparse, such as disk images of virtual machines, or hard links of each other. If too little space is left
        nevertheless, the restore ends, and nothing is restored.
    type: bool
    default: false
    version_added: 0.3.0
extends_documentation_fragment:
  - carrel.jupyter.attributes
attributes:
  check_mode:
    support: partial
    details: Returns what would be tried, not the result.
  diff_mode:
    support: none
  idempotent:
    support: none
    details: Each run is a backup, a restore or a drill.
seealso:
  - module: carrel.jupyter.instance_snapshots
"""

EXAMPLES = r"""
- name: Back up a hub before an upgrade
  carrel.jupyter.instance_backup:
    name: class101

- name: Restore a user's files of last Friday
  carrel.jupyter.instance_backup:
    name: class101
    command: restore
    user: ada@uni.example
    snapshot: "2030-02-01"
    overwrite: true
    stop: true
"""

RETURN = r"""
msg:
  description: The result, in one sentence.
  type: str
  returned: always
exit_code:
  description: The exit code of C(carrel-backup), see docs/reference/exit-codes.md; null if it did not run.
  type: int
  returned: always
  sample: 0
state:
  description: What C(/var/lib/carrel/NAME/backup/state.json) says about the last such run.
  type: dict
  returned: always
  sample: {result: done, message: "12 files, 10.2 MiB, of which 9.8 MiB are new", seconds: 21.4, warnings: []}
"""

import json
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrel.jupyter.plugins.module_utils._host import files, process
from ansible_collections.carrel.jupyter.plugins.module_utils._plan import names
from ansible_collections.carrel.jupyter.plugins.module_utils._report import printable
from ansible_collections.carrel.jupyter.plugins.module_utils._site import backup as decide


def read_state(name: str, command: str) -> dict[str, Any]:
    file = files.read(f"{decide.STATE_DIRECTORY.format(name)}/state.json")
    try:
        content = printable.clean(json.loads(file.content)) if file else {}
        return content[command] or {}
    except (ValueError, KeyError, TypeError):
        return {}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "command": {"type": "str", "choices": ["backup", "restore", "drill"], "default": "backup"},
            "user": {"type": "str"},
            "group": {"type": "str"},
            "snapshot": {"type": "str", "default": "latest"},
            "path": {"type": "str"},
            "overwrite": {"type": "bool", "default": False},
            "beside": {"type": "bool", "default": False},
            "stop": {"type": "bool", "default": False},
            "image": {"type": "bool", "default": False},
            "accept_damaged": {"type": "bool", "default": False},
            "accept_size": {"type": "bool", "default": False},
        },
        mutually_exclusive=[("user", "group")],
        supports_check_mode=True,
    )
    name, command = module.params["name"], module.params["command"]
    wrong = names.refusal(name)
    if wrong:
        module.fail_json(msg=wrong, exit_code=None, state={})
    try:
        if files.read(decide.PROGRAM) is None or files.read(decide.SETTINGS.format(name)) is None:
            if command == "restore":  # a person who wants files back must not be told that all is well
                module.fail_json(msg=f"{name} has no backups: nothing was restored", exit_code=None, state={})
            module.exit_json(msg=f"{name} has no backups", exit_code=None, state={}, changed=False, skipped=True)
        if module.check_mode:
            module.exit_json(msg=f"{command} of {name} would run", exit_code=None, state={}, changed=True)
        done = process.run([decide.PROGRAM, *decide.arguments(module.params)], process.LONG_SECONDS)
        state = read_state(name, command)
    except (files.UnsafePathError, process.EndlessError, OSError) as error:
        module.fail_json(msg=f"{error}. Remove the cause and run again.", exit_code=None, state={})
    outcome = decide.outcome(name, command, done.code, done.errors, state)
    answer = {"msg": outcome.message, "exit_code": done.code, "state": state}
    if outcome.failed:
        module.fail_json(**answer)
    if outcome.warning:
        module.warn(outcome.message)
    module.exit_json(changed=outcome.changed, **answer)


if __name__ == "__main__":
    main()
