#!/usr/bin/python
# Copyright: the carrel.jupyter authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: instance_snapshots
short_description: List the snapshots of an instance
version_added: 0.1.0
author: the carrel.jupyter authors (@carrel)
description:
  - Asks C(carrel-backup), which must be on the host (role carrel.jupyter.backup). Changes nothing.
options:
  name:
    description: Name of the instance.
    type: str
    required: true
extends_documentation_fragment:
  - carrel.jupyter.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: N/A
    details:
      - Nothing is ever changed.
  idempotent:
    support: full
seealso:
  - module: carrel.jupyter.instance_backup
"""

EXAMPLES = r"""
- name: List the snapshots of a hub
  carrel.jupyter.instance_snapshots:
    name: class101
  register: found
"""

RETURN = r"""
snapshots:
  description: Oldest first. C(of) is V(whole), or the user or group that it is limited to; C(on) is the host.
  type: list
  elements: dict
  returned: success
  sample:
    - {id: 3cf1172b84ca, time: "2030-01-01T02:30:11Z", of: whole, "on": geo1, files: 14, bytes: 162691,
       added_bytes: 17858, files_new: 14, files_changed: 0}
"""

import json

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrel.jupyter.plugins.module_utils._host import files, process
from ansible_collections.carrel.jupyter.plugins.module_utils._plan import names
from ansible_collections.carrel.jupyter.plugins.module_utils._report import printable
from ansible_collections.carrel.jupyter.plugins.module_utils._site import backup as decide

SECONDS = 660  # the program ends earlier by itself, and says why


def main() -> None:
    module = AnsibleModule(argument_spec={"name": {"type": "str", "required": True}}, supports_check_mode=True)
    name = module.params["name"]
    wrong = names.refusal(name)
    if wrong:
        module.fail_json(msg=wrong)
    try:
        if files.read(decide.PROGRAM) is None or files.read(decide.SETTINGS.format(name)) is None:
            module.exit_json(changed=False, snapshots=[], skipped=True, msg=f"{name} has no backups")
    except (files.UnsafePathError, OSError) as error:
        module.fail_json(msg=str(error))
    try:
        done = process.run([decide.PROGRAM, "snapshots", name, "--json"], SECONDS)
    except (process.EndlessError, OSError) as error:
        module.fail_json(msg=f"snapshots of {name} could not be read: {error}")
    if done.code:
        why = done.errors.strip() or f"carrel-backup ended with exit code {done.code}"
        module.fail_json(msg=f"snapshots of {name} could not be read: {why}")
    try:
        found = json.loads(done.output)
    except ValueError:
        module.fail_json(msg=f"snapshots of {name} could not be read: carrel-backup printed no JSON; run site again")
    module.exit_json(changed=False, snapshots=printable.clean(found))


if __name__ == "__main__":
    main()
