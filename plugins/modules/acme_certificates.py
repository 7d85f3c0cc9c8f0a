#!/usr/bin/python
# Copyright: the carrel.jupyter authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: acme_certificates
short_description: Wait for certificates that Apache gets by ACME, and say why one is missing
version_added: 0.2.0
description:
  - Reads what Apache's mod_md has on the host. If a certificate is missing, the module waits until Apache has loaded
    it, or the try to get it has failed.
  - Where an earlier try has failed, Apache is reloaded and tries again at once. By itself it waits longer after each
    error. Apache is also reloaded if C(mod_md) has not begun.
  - A missing certificate is no failure of the module.
author:
  - the carrel.jupyter authors (@carrel)
extends_documentation_fragment:
  - carrel.jupyter.attributes
attributes:
  check_mode:
    support: full
    details: Neither lets Apache try again nor waits, and names no missing certificate.
  diff_mode:
    support: N/A
    details: Changes no file.
  idempotent:
    support: full
    details: As long as a certificate is missing, each run tries again.
options:
  names:
    description: The names that have C(MDomain) in Apache's configuration.
    type: list
    elements: str
    required: true
  subdomains:
    description: Those of O(names) whose certificate must be for the names directly below, too.
    type: list
    elements: str
    default: []
  directory:
    description: The directory URL of the ACME server.
    type: str
    required: true
  ca_file:
    description: CA certificates for the connection to the ACME server; empty for the system's.
    type: str
    default: ""
  seconds:
    description: How long to wait for all certificates together.
    type: int
    default: 120
seealso:
  - module: carrel.jupyter.apache_sites
"""

EXAMPLES = r"""
- name: Wait for the certificate
  carrel.jupyter.acme_certificates:
    names: [example.org]
    directory: https://acme-v02.api.letsencrypt.org/directory
  register: acme
  failed_when: acme.missing | length > 0
"""

RETURN = r"""
missing:
  description: Why certificates are missing, and what to do, a text for each.
  type: list
  elements: str
  returned: success
"""

import time
from datetime import datetime, timezone

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrel.jupyter.plugins.module_utils._apache import acme as decide
from ansible_collections.carrel.jupyter.plugins.module_utils._apache.certificates import Pair
from ansible_collections.carrel.jupyter.plugins.module_utils._apache.sites import ApacheError
from ansible_collections.carrel.jupyter.plugins.module_utils._host import acme
from ansible_collections.carrel.jupyter.plugins.module_utils._host.apache_pairs import look_at


def issued(pair: Pair) -> bool:
    return decide.issued(look_at(pair), datetime.now(timezone.utc))


def wait(pairs: list[Pair], seconds: int) -> dict[Pair, decide.Job]:
    """The pairs that are still missing, each with its failed try, or with the state at the end."""
    jobs = {pair: decide.Job() for pair in pairs}
    deadline = time.monotonic() + seconds
    while True:
        # The reload for a certificate removes what mod_md says of other names' errors.
        jobs = {
            pair: job if job.errors else acme.job(pair.server_name) for pair, job in jobs.items() if not issued(pair)
        }
        if all(job.errors for job in jobs.values()) or time.monotonic() > deadline:
            return jobs
        time.sleep(0.5)


def get(module: AnsibleModule) -> None:
    given = module.params
    pairs = [decide.pair(name, name in given["subdomains"]) for name in given["names"]]
    bad_ca = acme.bad_ca(given["ca_file"])
    missing, idle = [], []
    for pair in pairs:
        seen, job = look_at(pair), acme.job(pair.server_name)
        if not decide.issued(seen, datetime.now(timezone.utc)):
            missing.append(pair)
            idle += [pair.server_name] if job.is_idle else []
        elif problem := decide.not_renewed(pair, seen, job, given, bad_ca):
            module.warn(problem)
    if module.check_mode:
        module.exit_json(changed=bool(idle), missing=[])
    try:
        if idle:
            acme.try_now(idle)
    except (ApacheError, OSError) as error:
        module.fail_json(msg=f"Apache cannot try to get the certificates of {', '.join(idle)}: {error}")
    jobs = wait(missing, given["seconds"])
    module.exit_json(
        changed=bool(idle), missing=[decide.missing(pair, job, given, bad_ca) for pair, job in jobs.items()]
    )


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "names": {"type": "list", "elements": "str", "required": True},
            "subdomains": {"type": "list", "elements": "str", "default": []},
            "directory": {"type": "str", "required": True},
            "ca_file": {"type": "str", "default": ""},
            "seconds": {"type": "int", "default": 120},
        },
        supports_check_mode=True,
    )
    try:
        get(module)
    except ApacheError as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
