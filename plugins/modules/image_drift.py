#!/usr/bin/python
# Copyright: the carrel.jupyter authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: image_drift
short_description: Compare the images in a host's engines with the declared ones
version_added: 0.1.0
author: the carrel.jupyter authors (@carrel)
description:
  - Compares the declared images of all engines of a host at once, and changes nothing.
  - Computes the tag of each image from its declaration and its base, as M(carrel.jupyter.image_build) does, and asks
    the engine for it.
options:
  jobs:
    description:
      - The images that each engine must have, as JSON. A list of mappings with C(engine) and C(images), entries for
        M(carrel.jupyter.image_build) with every key, or C(name) and C(pulled) for one that is pulled.
      - It is one text, because declarations may contain secrets, and Ansible logs the secrets in a list.
    type: str
    required: true
  engines:
    description: The engines of the host, as M(carrel.jupyter.instance_info) returns them.
    type: dict
    required: true
  kernels:
    description: Declarations of kernels by name, as for M(carrel.jupyter.image_build).
    type: dict
    default: {}
  cache:
    description: The file in which M(carrel.jupyter.image_build) caches facts about bases.
    type: path
    required: true
extends_documentation_fragment:
  - carrel.jupyter.attributes
attributes:
  check_mode:
    support: full
    details: Changes nothing, so check mode makes no difference.
  diff_mode:
    support: N/A
    details: An image has no lines.
  idempotent:
    support: full
seealso:
  - module: carrel.jupyter.image_build
  - module: carrel.jupyter.instance_drift
"""

EXAMPLES = r"""
- name: Read the engines of the host
  carrel.jupyter.instance_info:
  register: host

- name: Compare the images
  carrel.jupyter.image_drift:
    jobs: "{{ jobs | to_json }}"
    engines: "{{ host.engines }}"
    cache: /var/lib/carrel/images/examined.json
  register: drift
"""

RETURN = r"""
changed:
  description: Whether an image is not as declared.
  returned: success
  type: bool
images:
  description: Each image in each engine.
  returned: success
  type: list
  elements: dict
  contains:
    engine:
      description: The engine.
      type: str
      sample: tao
    name:
      description: The name of the image.
      type: str
      sample: statistics
    image:
      description: The name with which to run it; null if it is not as declared.
      type: str
      sample: statistics:0f5a3c9d1e2b
    reasons:
      description: The differences that a run would fix.
      type: list
      elements: str
      sample: []
"""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrel.jupyter.plugins.module_utils._host import image_drift
from ansible_collections.carrel.jupyter.plugins.module_utils._report.printable import bounded

AT_ONCE = 8


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "jobs": {"type": "str", "required": True, "no_log": True},
            "engines": {"type": "dict", "required": True},
            "kernels": {"type": "dict", "default": {}},
            "cache": {"type": "path", "required": True},
        },
        supports_check_mode=True,
    )
    given = module.params

    def look(job: dict[str, Any]) -> list[dict[str, Any]]:
        return image_drift.look(job, given["engines"].get(job["engine"], {}), given["kernels"], given["cache"])

    try:
        jobs = json.loads(given["jobs"])
    except ValueError:
        module.fail_json(msg="jobs must be a list as JSON")
    with ThreadPoolExecutor(AT_ONCE) as threads:
        images = image_drift.pushed_once([answer for answers in threads.map(look, jobs) for answer in answers])
    for image in images:
        image["reasons"] = bounded(image["reasons"])
    module.exit_json(changed=any(image["reasons"] for image in images), images=images)


if __name__ == "__main__":
    main()
