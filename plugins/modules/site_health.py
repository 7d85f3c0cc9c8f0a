#!/usr/bin/python
# Copyright: the carrel.jupyter authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: site_health
short_description: Wait until a site answers through the web server of its host
version_added: 0.1.0
description:
  - Connects to the host's own web server, with the name of the public URL in SNI and Host, like C(curl --resolve), so
    DNS and firewalls outside do not matter.
  - Redirects are not followed.
author:
  - the carrel.jupyter authors (@carrel)
extends_documentation_fragment:
  - carrel.jupyter.attributes
attributes:
  check_mode:
    support: full
    details: Makes one try and never fails.
  diff_mode:
    support: N/A
    details: Changes nothing.
  idempotent:
    support: full
options:
  url:
    description: The public URL of the site.
    type: str
    required: true
  path:
    description: The path to request below the URL.
    type: str
    default: api
  connect_to:
    description: The address to connect to. The port is the URL's.
    type: str
    default: 127.0.0.1
  timeout_seconds:
    description: Seconds to keep trying.
    type: int
    default: 60
  expect_status:
    description: The statuses that mean healthy.
    type: list
    elements: int
    default: [200]
  ports:
    description:
      - Ports of 127.0.0.1 behind the web server on which only O(account) may listen. If somebody else does, the module
        fails at once and says who. They require O(account), which must exist.
    type: list
    elements: int
  account:
    description: The account that owns O(ports).
    type: str
  validate_certs:
    description: Whether the certificate must be valid. By default it need not be, because the host may not know its CA.
    type: bool
    default: false
seealso:
  - module: carrel.jupyter.instance_status
"""

EXAMPLES = r"""
- name: Wait for a JupyterLab
  carrel.jupyter.site_health:
    url: https://example.org/tao/
    timeout_seconds: 120
  register: health

- name: Show its version
  ansible.builtin.debug:
    var: health.version
"""

RETURN = r"""
healthy:
  description: Whether the site answered with an expected status. If not, the module fails, except in check mode.
  returned: unless the input is refused
  type: bool
status:
  description: The last HTTP status; null without an answer.
  returned: unless the input is refused
  type: int
  sample: 200
version:
  description: The version in the JSON answer, as at C(api) of jupyter_server and JupyterHub; null when there is none.
  returned: unless the input is refused
  type: str
  sample: 2.21.1
elapsed:
  description: Seconds until the answer.
  returned: unless the input is refused
  type: float
  sample: 0.031
"""

import time
from collections.abc import Collection

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrel.jupyter.plugins.module_utils._host import instance_ports
from ansible_collections.carrel.jupyter.plugins.module_utils._host.request import ask
from ansible_collections.carrel.jupyter.plugins.module_utils._site import health as decide


def taken(ports: Collection[int], account: str) -> str:
    """Say who else has the account's ports. Empty if nobody has."""
    try:
        return "; ".join(instance_ports.others(ports, account))
    except KeyError:
        return f"account: there is no account {account!r} on this host; make its engine first, or correct the name"


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "url": {"type": "str", "required": True},
            "path": {"type": "str", "default": "api"},
            "connect_to": {"type": "str", "default": "127.0.0.1"},
            "timeout_seconds": {"type": "int", "default": 60},
            "expect_status": {"type": "list", "elements": "int", "default": [200]},
            "ports": {"type": "list", "elements": "int"},
            "account": {"type": "str"},
            "validate_certs": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
        required_by={"ports": ["account"]},
    )
    given = module.params
    try:
        target = decide.target(given["url"], given["path"])
    except ValueError as error:
        module.fail_json(msg=str(error))
    start = time.monotonic()
    deadline = start + given["timeout_seconds"]
    tries = 0
    while True:
        left = deadline - time.monotonic()
        seen = ask(target, given["connect_to"], min(10.0, max(1.0, left)), given["validate_certs"])
        tries += 1
        others = taken(given["ports"], given["account"]) if given["ports"] else ""
        healthy = seen.status in given["expect_status"] and not others
        pause = min(1.0, 0.1 * tries)
        if healthy or others or module.check_mode or time.monotonic() + pause > deadline:
            break
        time.sleep(pause)
    elapsed = round(time.monotonic() - start, 3)
    result = {"healthy": healthy, "status": seen.status, "version": decide.version(seen.body), "elapsed": elapsed}
    if not healthy and not module.check_mode:
        message = decide.failure(target, given["connect_to"], elapsed, tries, seen, given["expect_status"])
        module.fail_json(msg=others or message, **result)
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
