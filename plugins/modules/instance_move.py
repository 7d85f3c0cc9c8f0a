#!/usr/bin/python
# Copyright: the carrel.jupyter authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: instance_move
short_description: Do one step of a move of an instance to another host
version_added: 0.1.0
author: the carrel.jupyter authors (@carrel)
description:
  - For the playbook C(carrel.jupyter.move), which runs the steps in order. Each step can be repeated.
  - Runs the program C(carrel-backup), which the role C(carrel.jupyter.backup) installs.
options:
  step:
    description:
      - The step. V(measure) returns the size of O(directory) and the free space on the host, and changes nothing.
    type: str
    required: true
    choices: [measure, begin, probe, relay, send, receive, pause, commit, settle, undo, let_go, finish]
  settings:
    description: The program's settings for the instance on this host.
    type: dict
    default: {}
  password:
    description: Password of the repository that transfers the files; V(begin) generates one.
    type: str
  given:
    description: More input of the step.
    type: dict
    default: {}
  directory:
    description: The instance's directory, for V(measure).
    type: path
extends_documentation_fragment:
  - carrel.jupyter.attributes
attributes:
  check_mode:
    support: partial
    details: Only V(measure) is done.
  diff_mode:
    support: none
  idempotent:
    support: none
    details: A repeated step is done again.
seealso:
  - module: carrel.jupyter.instance_backup
"""

EXAMPLES = r"""
- name: Measure the size of an instance
  carrel.jupyter.instance_move:
    step: measure
    directory: /srv/tao
"""

RETURN = r"""
answer:
  description: The result of the step.
  type: dict
  returned: success
  sample: {bytes: 73400320, free_bytes: 21474836480}
password:
  description: The password of the repository, after V(begin).
  type: str
  returned: success
"""

import json
import os
import secrets

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrel.jupyter.plugins.module_utils._host import disk_usage, files
from ansible_collections.carrel.jupyter.plugins.module_utils._report import printable
from ansible_collections.carrel.jupyter.plugins.module_utils._site import backup, move

DU_SECONDS = 3600
STATE = "/var/lib"


def measure(directory: str) -> dict[str, object]:
    notes: list[str] = []
    taken = disk_usage.directory_bytes(directory, DU_SECONDS, notes) if os.path.isdir(directory) else 0
    free = []
    for place in (directory, STATE):
        while not os.path.isdir(place):
            place = os.path.dirname(place)
        found = os.statvfs(place)
        free.append(found.f_frsize * found.f_bavail)
    return {"bytes": taken or 0, "free_bytes": min(free), "notes": notes}


def main() -> None:
    steps = [
        "measure",
        "begin",
        "probe",
        "relay",
        "send",
        "receive",
        "pause",
        "commit",
        "settle",
        "undo",
        "let_go",
        "finish",
    ]
    module = AnsibleModule(
        argument_spec={
            "step": {"type": "str", "required": True, "choices": steps},
            "settings": {"type": "dict", "default": {}},
            "password": {"type": "str", "no_log": True},
            "given": {"type": "dict", "default": {}},
            "directory": {"type": "path"},
        },
        required_if=[("step", "measure", ["directory"])],
        supports_check_mode=True,
    )
    step = module.params["step"]
    if step == "measure":
        module.exit_json(changed=False, answer=measure(module.params["directory"]))
    if module.check_mode:
        module.exit_json(changed=True, skipped=True, answer={})
    try:
        if files.read(backup.PROGRAM) is None:
            module.fail_json(msg=f"{backup.PROGRAM} is missing; run the site playbook first")
    except (files.UnsafePathError, OSError) as error:
        module.fail_json(msg=str(error))
    password = module.params["password"] or secrets.token_hex(24)
    given = {**module.params["given"], "settings": {**module.params["settings"], "password": password}}
    code, output, said = module.run_command([backup.PROGRAM, "move", step], data=json.dumps(given), binary_data=True)
    if code != move.DONE:
        module.fail_json(msg=f"{step}: {printable.text(said).strip() or f'exit code {code}'}")
    answer = json.loads(output)
    kept = {"password": answer.pop("password")} if "password" in answer else {}
    kept["warnings"] = answer.pop("warnings", [])
    module.exit_json(changed=step not in ("begin", "probe"), answer=answer, **kept)


if __name__ == "__main__":
    main()
