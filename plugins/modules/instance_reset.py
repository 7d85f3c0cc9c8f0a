#!/usr/bin/python
# Copyright: the carrel.jupyter authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: instance_reset
short_description: Reset an instance now
version_added: 0.1.0
author: the carrel.jupyter authors (@carrel)
description:
  - Runs C(carrel-reset), which recreates the instance's containers from their image without downtime. It must be on
    the host (role carrel.jupyter.reset).
  - A held instance is skipped. A reset that is put off, because people are at work, is not a failure.
  - It waits until the reset ends, with O(people=wait) up to the instance's deadline.
options:
  name:
    description: Name of the instance.
    type: str
    required: true
  people:
    description:
      - What to do while kernels are busy or terminals in use. V(wait) until the deadline, V(skip) this reset, or
        V(ignore) them. By default the instance's settings decide.
    type: str
    choices: [wait, skip, ignore]
  pull:
    description: With V(false), no image is pulled. With V(true), the instance's settings decide.
    type: bool
    default: true
  notice:
    description: With V(false), people get no notice. With V(true), the instance's settings decide.
    type: bool
    default: true
  claimed:
    description:
      - V(true) if the caller itself has claimed the instance with M(carrel.jupyter.instance_claim), to change it. Then
        the administrator's commands before and after a reset do not run.
    type: bool
    default: false
extends_documentation_fragment:
  - carrel.jupyter.attributes
attributes:
  check_mode:
    support: partial
    details: Returns whether a reset would be tried, not whether people at work would put it off.
  diff_mode:
    support: none
  idempotent:
    support: none
    details: Each run is a reset.
seealso:
  - module: carrel.jupyter.instance_status
  - module: carrel.jupyter.instance_claim
"""

EXAMPLES = r"""
- name: Reset a lab now, unless people are at work in it
  carrel.jupyter.instance_reset:
    name: tao
    people: skip
  register: reset

- name: Show why the reset was put off
  ansible.builtin.debug:
    var: reset.msg
  when: reset.put_off
"""

RETURN = r"""
msg:
  description: The result, in one sentence.
  type: str
  returned: always
exit_code:
  description:
    - The exit code of C(carrel-reset), see docs/reference/exit-codes.md.
    - 2 also if the program or its settings are missing. Null if it did not run for another reason, such as check mode.
  type: int
  returned: always
  sample: 0
put_off:
  description: Whether the reset was put off, for example because people are at work.
  type: bool
  returned: always
state:
  description: The last reset, from C(/var/lib/carrel/NAME/reset/state.json), without the history.
  type: dict
  returned: always
  sample: {version: 1, name: tao, kind: lab, result: done, seconds: 21.4}
"""

import json
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrel.jupyter.plugins.module_utils._host import files, process
from ansible_collections.carrel.jupyter.plugins.module_utils._plan import names
from ansible_collections.carrel.jupyter.plugins.module_utils._report import printable
from ansible_collections.carrel.jupyter.plugins.module_utils._site import reset as decide

RECORD = "/var/lib/carrel/{}/instance.json"


def read_object(path: str) -> dict[str, Any]:
    """The JSON object in a file; an empty one where there is none."""
    file = files.read(path)
    try:
        content = printable.clean(json.loads(file.content)) if file else {}
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def read_state(name: str) -> dict[str, Any]:
    state = read_object(f"{decide.STATE_DIRECTORY.format(name)}/state.json")
    state.pop("history", None)
    return state


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "people": {"type": "str", "choices": ["wait", "skip", "ignore"]},
            "pull": {"type": "bool", "default": True},
            "notice": {"type": "bool", "default": True},
            "claimed": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    name: str = module.params["name"]
    wrong = names.refusal(name)
    if wrong:
        module.fail_json(msg=wrong, exit_code=None, put_off=False, state={})
    code = None
    try:
        if read_object(RECORD.format(name)).get("state") == "held":
            outcome = decide.held(name)
        elif files.read(decide.PROGRAM) is None or files.read(decide.SETTINGS.format(name)) is None:
            code = decide.USAGE
            missing = f"{decide.PROGRAM} or {decide.SETTINGS.format(name)} is missing."
            outcome = decide.outcome(name, code, missing, {})
        elif module.check_mode:
            outcome = decide.foreseen(name)
        else:
            done = process.run([decide.PROGRAM, name, *decide.flags(module.params)], process.LONG_SECONDS)
            code, outcome = done.code, decide.outcome(name, done.code, done.errors, read_state(name))
        state = read_state(name)
    except (files.UnsafePathError, process.EndlessError, OSError) as error:
        module.fail_json(msg=f"{error}. Remove the cause and run again.", exit_code=code, put_off=False, state={})
    answer = {"msg": outcome.message, "exit_code": code, "put_off": outcome.put_off, "state": state}
    if outcome.failed:
        module.fail_json(**answer)
    if outcome.skipped:
        answer["skipped"] = True
    module.exit_json(changed=outcome.changed, **answer)


if __name__ == "__main__":
    main()
