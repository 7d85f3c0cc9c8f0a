#!/usr/bin/python
# Copyright: the carrel.jupyter authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: instance_drift
short_description: Compare the instances on a host with the declared ones
version_added: 0.1.0
author: the carrel.jupyter authors (@carrel)
description:
  - Compares all instances of a host at once and changes nothing. For each instance it reads the files with their owners
    and modes, asks the engine for containers and images, and asks Apache for the public URL.
  - Compares each container with its declaration key by key, so it finds containers that were changed or made by hand.
  - If something cannot be compared, this counts as a difference that says why; the module does not fail.
options:
  labs:
    description:
      - The labs, entries of C(lab_instances) of P(carrel.jupyter.plan#module)'s result with the name of their image,
        as JSON.
      - It is one text, because it contains secrets, and Ansible logs the secrets in a list.
    type: str
    default: ""
  hubs:
    description: The hubs, entries of C(hub_instances) with the name of the hub's own image as C(hub_image), as JSON.
    type: str
    default: ""
  engines:
    description: The engines of the host, as M(carrel.jupyter.instance_info) returns them.
    type: dict
    default: {}
  programs:
    description: The files that the roles lab and hub install for the instances' servers, by name.
    type: dict
    default: {}
  connect_to:
    description: Address of Apache for requests to the public URLs. Without it the URLs are not checked.
    type: str
  control_time:
    description: As in M(carrel.jupyter.user_volumes).
    type: str
  known:
    description: The names of all instances. With it, containers in O(engines) that belong to none of them are found.
    type: list
    elements: str
extends_documentation_fragment:
  - carrel.jupyter.attributes
attributes:
  check_mode:
    support: full
    details: Changes nothing, so check mode makes no difference.
  diff_mode:
    support: full
    details: Shows what a run of the site playbook would change in files. Secrets are masked.
  idempotent:
    support: full
seealso:
  - module: carrel.jupyter.instance_status
  - module: carrel.jupyter.instance_info
"""

EXAMPLES = r"""
- name: Read what the host has
  carrel.jupyter.instance_info:
  register: host

- name: Compare the instances with their declaration
  carrel.jupyter.instance_drift:
    labs: "{{ plan.lab_instances | to_json }}"
    engines: "{{ host.engines }}"
  register: drift

- name: Show what differs
  ansible.builtin.debug:
    var: drift.differing
"""

RETURN = r"""
changed:
  description: Whether anything differs.
  returned: success
  type: bool
differing:
  description: The reasons why instances differ, by their names.
  returned: success
  type: dict
  sample: {tao: ["/srv/tao/compose.yaml has other content", "it is stopped: it exited with status 137"]}
changed_by_hand:
  description:
    - How containers differ from the declaration that they were made from, by the names of instance and service.
    - Compose does not recreate these by itself.
    - Differences that are the same as when C(/var/lib/carrel/NAME/made_anew.json) was written are notes instead,
      because recreating the container did not help.
  returned: success
  type: dict
  sample: {atlas: {lab-1: ["privileged true, which is not declared"]}}
made_anew_in_vain:
  description: In the same form, the differences that remain after the containers were recreated. Each has a note.
  returned: success
  type: dict
  sample: {}
settled:
  description: The files C(made_anew.json) that are no longer needed, because their instances are as declared now.
  returned: success
  type: list
  elements: str
  sample: [/var/lib/carrel/tao/made_anew.json]
as_declared:
  description: The names of the other instances.
  returned: success
  type: list
  elements: str
  sample: [atlas]
notes:
  description: Warnings that are not differences, such as limits that the engine cannot enforce.
  returned: success
  type: list
  elements: str
  sample: []
strangers:
  description: The containers that belong to none of the instances, by engine.
  returned: success
  type: dict
  sample: {tao: [test-postgres]}
"""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrel.jupyter.plugins.module_utils._host import compose_project, drift, hub_drift, lab_drift
from ansible_collections.carrel.jupyter.plugins.module_utils._report.printable import bounded

# Engines, registries and Apache are waited for, and one that does not answer must keep few of the others waiting.
AT_ONCE = 16


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            # Ansible masks their values wherever they are in the answer, and an empty one nowhere.
            "labs": {"type": "str", "default": "", "no_log": True},
            "hubs": {"type": "str", "default": "", "no_log": True},
            "engines": {"type": "dict", "default": {}},
            "programs": {"type": "dict", "default": {}},
            "connect_to": {"type": "str"},
            "control_time": {"type": "str"},
            "known": {"type": "list", "elements": "str"},
        },
        supports_check_mode=True,
    )
    given = module.params
    around = drift.Surroundings(given["engines"], given["programs"], given["connect_to"], given["control_time"])
    try:
        instances: list[tuple[drift.Look, dict[str, Any]]] = [
            (lab_drift.look, each) for each in json.loads(given["labs"] or "[]")
        ]
        instances += [(hub_drift.look, each) for each in json.loads(given["hubs"] or "[]")]
    except ValueError:
        module.fail_json(msg="labs and hubs must be lists as JSON")
    with ThreadPoolExecutor(AT_ONCE) as threads:
        looking = [threads.submit(drift.looked, look, instance, around) for look, instance in instances]
        known = given["known"]
        asked = {
            name: threads.submit(drift.strangers, engine, known)
            for name, engine in (given["engines"].items() if known is not None else ())
        }
        found = [each.result() for each in looking]
        strangers = {name: each.result() for name, each in asked.items()}
    names = [instance["name"] for _unused, instance in instances]
    reasons = {name: bounded(each.all_reasons()) for name, each in zip(names, found)}
    module.exit_json(
        changed=any(reasons.values()),
        differing={name: texts for name, texts in reasons.items() if texts},
        changed_by_hand={name: each.by_hand for name, each in zip(names, found) if each.by_hand},
        as_declared=[name for name, texts in reasons.items() if not texts],
        made_anew_in_vain={name: each.in_vain for name, each in zip(names, found) if each.in_vain},
        settled=[compose_project.MADE_ANEW.format(name) for name, each in zip(names, found) if each.settled],
        notes=[note for each in found for note in each.notes],
        strangers={name: each for name, each in strangers.items() if each},
        diff=[part for each in found for part in each.tracker.diffs],
    )


if __name__ == "__main__":
    main()
