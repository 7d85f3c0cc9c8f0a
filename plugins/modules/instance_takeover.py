#!/usr/bin/python
# Copyright: the carrel.jupyter authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: instance_takeover
short_description: Take over labs that others have set up, or give them back
version_added: 0.2.0
description:
  - For each account, stops and disables the old engine, moves the folders with notebooks to where the instances have
    theirs, and the jobs of cron and the sites of the web server to C(/etc/carrel/adopted/ACCOUNT). Nothing is copied or
    deleted.
  - All accounts are checked before anything is changed. What is done is recorded, so that a second run changes nothing,
    and a run that was killed is completed by the next one.
  - It must be root.
author:
  - the carrel.jupyter authors (@carrel)
options:
  takeovers:
    description: Entries of C(jupyter_adopted), as the playbook C(carrel.jupyter.adopt) writes them.
    type: list
    elements: dict
    required: true
    suboptions:
      account:
        description: The account that runs the old engine.
        type: str
        required: true
      unit:
        description: The old engine's user unit.
        type: str
        required: true
      instances:
        description: The labs of the engine.
        type: list
        elements: dict
        required: true
        suboptions:
          name:
            description: The instance's name.
            type: str
            required: true
          notebooks:
            description: The folder with its notebooks in the old setup.
            type: path
            required: true
          port:
            description: Its port on the host in the old setup.
            type: int
            required: true
          container:
            description: Its container in the old engine.
            type: str
            required: true
          running:
            description: Whether O(state=returned) starts the container.
            type: bool
            default: true
          stays:
            description: Folders that the lab needs where they are. Notebooks that are or contain one are not moved.
            type: list
            elements: path
            default: []
      files:
        description: Jobs of cron and sites of Apache and nginx that are moved away.
        type: list
        elements: path
        default: []
      shared:
        description: Files that have jobs or sites of others, too. As long as there is one, nothing is taken over.
        type: list
        elements: path
        default: []
  base_dir:
    description: Folder of the instances' folders.
    type: path
    default: /srv
  state:
    description: V(taken), or V(returned) to give back what was taken over.
    type: str
    choices: [taken, returned]
    default: taken
extends_documentation_fragment:
  - carrel.jupyter.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
seealso:
  - module: carrel.jupyter.instance_survey
"""

EXAMPLES = r"""
- name: Take over a lab that was set up by hand
  carrel.jupyter.instance_takeover:
    takeovers:
      - account: tao
        unit: docker.service
        instances: [{name: tao-lab, notebooks: /srv/tao/notebooks, port: 9288, container: lbsn-jupyterlab}]
        files: [/etc/cron.daily/reset_jupyter_tao]
"""

RETURN = r"""
accounts:
  description: The accounts that this run took over or gave back.
  returned: success
  type: list
  elements: str
  sample: [tao]
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrel.jupyter.plugins.module_utils._adopt.takeover import described
from ansible_collections.carrel.jupyter.plugins.module_utils._changes.tracker import Tracker
from ansible_collections.carrel.jupyter.plugins.module_utils._host import files
from ansible_collections.carrel.jupyter.plugins.module_utils._host.process import EndlessError
from ansible_collections.carrel.jupyter.plugins.module_utils._host.takeover import Takeover, TakeoverError

INSTANCE = {
    "name": {"type": "str", "required": True},
    "notebooks": {"type": "path", "required": True},
    "port": {"type": "int", "required": True},
    "container": {"type": "str", "required": True},
    "running": {"type": "bool", "default": True},
    "stays": {"type": "list", "elements": "path", "default": []},
}
TAKEOVER = {
    "account": {"type": "str", "required": True},
    "unit": {"type": "str", "required": True},
    "instances": {"type": "list", "elements": "dict", "required": True, "options": INSTANCE},
    "files": {"type": "list", "elements": "path", "default": []},
    "shared": {"type": "list", "elements": "path", "default": []},
}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "takeovers": {"type": "list", "elements": "dict", "required": True, "options": TAKEOVER},
            "base_dir": {"type": "path", "default": "/srv"},
            "state": {"type": "str", "choices": ["taken", "returned"], "default": "taken"},
        },
        supports_check_mode=True,
    )
    if os.geteuid() != 0:
        module.fail_json(msg="only root can take over what accounts have set up: run it with become: true, or -b")
    back = module.params["state"] == "returned"
    tracker = Tracker()
    try:
        found = [Takeover(entry, module.params["base_dir"].rstrip("/")) for entry in module.params["takeovers"]]
        left = [one for one in found if (one.state if back else one.state != "taken")]
        for one in left:
            one.check_back() if back else one.check()
        for one in left:
            states = described(one.entry, one.base)
            tracker.note(f"account {one.name}", *(states[::-1] if back else states))
            if not module.check_mode:
                one.give_back() if back else one.take()
    except (TakeoverError, files.UnsafePathError, EndlessError, OSError, ValueError, LookupError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(**tracker.result(accounts=[one.name for one in left]))


if __name__ == "__main__":
    main()
