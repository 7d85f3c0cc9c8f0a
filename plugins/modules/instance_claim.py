#!/usr/bin/python
# Copyright: the carrel.jupyter authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: instance_claim
short_description: Keep resets out while a playbook changes an instance's containers
version_added: 0.1.0
author: the carrel.jupyter authors (@carrel)
description:
  - Claims an instance, and waits until a running reset of it has ended. A reset that only waits for people or for its
    time ends within seconds. C(carrel-reset) ends with exit code 3 while there is a claim.
  - If the playbook is killed, the claim ends by itself, see O(seconds), or at a reboot.
  - Checks the reset's lock without opening it, because the lock belongs to the engine's account.
options:
  name:
    description: Name of the instance.
    type: str
    required: true
  state:
    description: V(claimed), or V(free) once the containers are as they should be.
    type: str
    choices: [claimed, free]
    default: claimed
  seconds:
    description:
      - Seconds after which the claim ends at the latest. Claim the instance again to extend it.
      - While the module waits for a reset, the claim lasts longer, by the time of the instance's longest reset. If the
        playbook is killed meanwhile, it keeps resets out for this time.
    type: int
    default: 900
  healthy:
    description: Whether to return RV(healthy).
    type: bool
    default: false
extends_documentation_fragment:
  - carrel.jupyter.attributes
attributes:
  check_mode:
    support: full
    details: It claims nothing and does not wait.
  diff_mode:
    support: N/A
    details: A claim is not part of the instance.
  idempotent:
    support: full
seealso:
  - module: carrel.jupyter.instance_reset
"""

EXAMPLES = r"""
- name: Change containers
  block:
    - name: Wait for a running reset, and keep others out
      carrel.jupyter.instance_claim:
        name: tao

    - name: Start the server
      community.docker.docker_compose_v2:
        project_src: /srv/tao
        docker_host: unix:///run/carrel/engines/run-user-1001/docker.sock # from engine_sockets
  always:
    - name: Allow resets again
      carrel.jupyter.instance_claim:
        name: tao
        state: free
"""

RETURN = r"""
waited_seconds:
  description: How many seconds the module waited for a reset.
  returned: success
  type: int
  sample: 0
second:
  description: Whether the second of a lab's two servers is the active one.
  returned: success
  type: bool
  sample: false
healthy:
  description: The ids of the images that resets have found to work.
  returned: with O(healthy)
  type: list
  elements: str
  sample: [sha256:2f66aad5324a5a2b9e2a4bff1b1b5b1c1f5cc1c4b1c1c3cf1b2e7f5c5a1f6d3e]
can_reset:
  description: Whether C(carrel-reset) is on the host.
  returned: success
  type: bool
  sample: true
"""

import json
import os
import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrel.jupyter.plugins.module_utils._changes.file import File
from ansible_collections.carrel.jupyter.plugins.module_utils._host import claims, files
from ansible_collections.carrel.jupyter.plugins.module_utils._host.locks import locked
from ansible_collections.carrel.jupyter.plugins.module_utils._plan import names
from ansible_collections.carrel.jupyter.plugins.module_utils._site import reset

LOOK_SECONDS = 0.5
WHO = "a playbook"


def longest(name: str) -> int:
    """How many seconds a reset of the instance may take."""
    text = files.read_text(reset.SETTINGS.format(name))
    return reset.longest(json.loads(text) if text else {})


def wait(name: str, seconds: float) -> int:
    """Wait for the end of a reset; return the seconds. Raises TimeoutError."""
    began = time.monotonic()
    while locked(f"{reset.STATE_DIRECTORY.format(name)}/lock"):
        if time.monotonic() > began + seconds:
            raise TimeoutError(
                f"a reset of {name} is at work and has not ended within {seconds:.0f} s; nothing was changed."
                f" {reset.STATE_DIRECTORY.format(name)}/state.json says how far it is. Wait for it, or end it"
                " (pgrep -f carrel-reset finds it), and run the playbook again"
            )
        time.sleep(LOOK_SECONDS)
    return round(time.monotonic() - began)


def healthy(name: str) -> list[str]:
    """The ids of the images that resets have found to work; none if the state cannot be read."""
    try:
        return reset.healthy(files.read_text(f"{reset.STATE_DIRECTORY.format(name)}/state.json") or "")
    except (files.UnsafePathError, OSError, ValueError):
        return []


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["claimed", "free"], "default": "claimed"},
            "seconds": {"type": "int", "default": 900},
            "healthy": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    name: str = module.params["name"]
    wrong = names.refusal(name)
    if wrong:
        module.fail_json(msg=wrong)
    path, seconds, waited = claims.FILE.format(name), module.params["seconds"], 0
    try:
        if module.check_mode:
            pass
        elif module.params["state"] == "free":
            files.remove(path)
        else:
            limit = longest(name)
            # First claim, then check the lock: a reset that takes the lock afterwards sees the claim.
            files.write(path, File(claims.claim(WHO, seconds + limit), 0o644))
            waited = wait(name, limit)
            files.write(path, File(claims.claim(WHO, seconds), 0o644))
    except TimeoutError as error:
        files.remove(path)
        module.fail_json(msg=str(error))
    except (files.UnsafePathError, OSError, ValueError) as error:
        module.fail_json(msg=f"{name} cannot be claimed: {error}")
    ids = {"healthy": healthy(name)} if module.params["healthy"] else {}
    second = os.path.lexists(f"{reset.STATE_DIRECTORY.format(name)}/second")
    can_reset = os.path.exists(reset.PROGRAM)
    module.exit_json(changed=False, waited_seconds=waited, second=second, can_reset=can_reset, **ids)


if __name__ == "__main__":
    main()
