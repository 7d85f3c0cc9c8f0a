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
  - Runs the program C(carrel-backup), which the role C(carrel.jupyter.backup) installs, except for V(measure).
  - Files move through a repository on each host, whose new files the playbook carries in parts.
options:
  step:
    description:
      - V(measure), for both hosts, returns the size of O(directory) and the free space there, and changes nothing.
      - V(begin), for both hosts, records which move it is. It returns the files that the repository has, and its
        password, which it makes on the old host.
      - V(probe) checks that the old host reaches the new one's Apache, and trusts its certificate. It changes nothing.
      - V(relay) lets the new host forward requests until it has an instance again that had left it.
      - V(send) makes a snapshot on the old host, and packs the files that the new host lacks. With C(hold) in O(given),
        requests wait from then on, and the containers stop.
      - V(receive) unpacks them on the new host. With C(place) in O(given), it puts them in place, and
        starts the instance.
      - V(pause) stops the new host's containers, after their trial or after a failure.
      - V(commit) writes on the old host that the instance has moved, and sends the waiting requests to the new one.
      - V(settle) writes on the new host where the instance comes from.
      - V(undo) starts the old host's containers after a failure, and sends the waiting requests to them.
      - V(let_go) lets the old host's Apache send new requests directly again, to where the instance is.
      - V(finish) removes the move's own files on a host.
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
    description:
      - More input of the step.
      - V(begin) needs C(from), C(to) and C(here), names of hosts; V(settle) needs C(from).
      - V(probe) and V(commit) need C(target), C(path), C(expect) and C(seconds), V(relay) C(target), V(undo) C(here);
        C(target) and C(here) are where a host's Apache listens.
      - V(send) needs C(hold), C(snapshot), C(have), C(of) and C(owner), V(receive) C(pack), C(more), C(snapshot) and
        C(place).
    type: dict
    default: {}
  directory:
    description: The instance's directory. Required with O(step=measure).
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
  description:
    - The result of the step, empty after most of them.
    - After V(measure) C(bytes), C(free_bytes) and C(notes), after V(begin) C(have), after V(send) C(more), C(have),
      C(snapshot) and C(pack), after V(undo) C(moved) and C(down), the containers that did not start.
  type: dict
  returned: success
  sample: {bytes: 73400320, free_bytes: 21474836480, notes: []}
password:
  description: The password of the repository.
  type: str
  returned: after V(begin)
"""

import json
import os
import secrets

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrel.jupyter.plugins.module_utils._host import disk_usage, files, process
from ansible_collections.carrel.jupyter.plugins.module_utils._site import backup, move

DU_SECONDS = 3600
STATE = "/var/lib"
CHANGES_NOTHING = ("measure", "probe")


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
        module.exit_json(changed=step not in CHANGES_NOTHING, skipped=True, answer={})
    try:
        if files.read(backup.PROGRAM) is None:
            module.fail_json(msg=f"{backup.PROGRAM} is missing; run the site playbook first")
    except (files.UnsafePathError, OSError) as error:
        module.fail_json(msg=str(error))
    password = module.params["password"] or secrets.token_hex(24)
    given = {**module.params["given"], "settings": {**module.params["settings"], "password": password}}
    try:
        done = process.run([backup.PROGRAM, "move", step], process.LONG_SECONDS, data=json.dumps(given))
    except (process.EndlessError, OSError) as error:
        module.fail_json(msg=f"{step}: {error}; run the playbook again")
    if done.code != move.DONE:
        module.fail_json(msg=f"{step}: {done.errors.strip() or f'exit code {done.code}'}")
    try:
        answer = dict(json.loads(done.output))
    except (ValueError, TypeError):
        module.fail_json(msg=f"{step}: {backup.PROGRAM} gave an answer that is no JSON object; run the playbook again")
    kept = {"password": answer.pop("password")} if "password" in answer else {}
    for warning in answer.pop("warnings", []):
        module.warn(warning)
    module.exit_json(changed=step not in CHANGES_NOTHING, answer=answer, **kept)


if __name__ == "__main__":
    main()
