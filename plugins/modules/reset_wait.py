#!/usr/bin/python
# Copyright: the carrel.jupyter authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: reset_wait
short_description: Wait until running resets have ended
version_added: 0.1.0
author: the carrel.jupyter authors (@carrel)
description:
  - Waits until no C(carrel-reset) holds the lock of these instances, so that none starts what is stopped next.
  - It looks at the lock from outside and opens nothing, since the lock belongs to the engine's account. One that is
    still held at the end of the time is a warning.
  - Changes nothing.
options:
  instances:
    description: The instances.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the instance.
        type: str
        required: true
      seconds:
        description: Seconds to wait at most.
        type: int
        required: true
extends_documentation_fragment:
  - carrel.jupyter.attributes
attributes:
  check_mode:
    support: full
    details: It does not wait.
  diff_mode:
    support: N/A
    details: Nothing is ever changed.
  idempotent:
    support: full
seealso:
  - module: carrel.jupyter.instance_reset
"""

EXAMPLES = r"""
- name: Wait for a reset before the instance is removed
  carrel.jupyter.reset_wait:
    instances:
      - {name: tao, seconds: 1800}
"""

RETURN = r"""
at_work:
  description: The instances whose resets did not end in time.
  returned: success
  type: list
  elements: str
  sample: []
"""

import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrel.jupyter.plugins.module_utils._host.locks import locked
from ansible_collections.carrel.jupyter.plugins.module_utils._site.reset import STATE_DIRECTORY

LOOK_SECONDS = 0.5


def main() -> None:
    instance = {"name": {"type": "str", "required": True}, "seconds": {"type": "int", "required": True}}
    module = AnsibleModule(
        argument_spec={"instances": {"type": "list", "elements": "dict", "required": True, "options": instance}},
        supports_check_mode=True,
    )
    start = time.monotonic()
    at_work = []
    for one in module.params["instances"]:
        lock = f"{STATE_DIRECTORY.format(one['name'])}/lock"
        while (held := locked(lock)) and not module.check_mode and time.monotonic() < start + one["seconds"]:
            time.sleep(LOOK_SECONDS)
        if held:
            at_work.append(one["name"])
            if not module.check_mode:
                module.warn(
                    f"the reset of {one['name']} has not ended within {one['seconds']} s, and may start what is stopped"
                    " next: end it (pgrep -f carrel-reset finds it), and run the playbook again"
                )
    module.exit_json(changed=False, at_work=at_work)


if __name__ == "__main__":
    main()
