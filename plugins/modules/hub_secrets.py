#!/usr/bin/python
# Copyright: the carrel.jupyter authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: hub_secrets
short_description: Write the secrets of a JupyterHub, and generate those that are not given
version_added: 0.1.0
author: the carrel.jupyter authors (@carrel)
description:
  - Writes C(hub/secrets.json), C(hub/passwords.json), C(proxy.env), C(metrics-token), C(service-NAME-token) for each of
    O(services) and, if the hub has or had a PostgreSQL, C(database-password) below O(directory). Only the engine's
    account can read them; C(proxy.env) belongs to root, which reads it, too, with C(docker compose).
  - The cookie secret, the tokens and the database's password are generated if they are missing, and kept from then on.
    To replace a secret, delete its key from C(hub/secrets.json) and run again; everybody has to log in again.
  - Never delete C(database_password), because PostgreSQL still uses it. If it is missing, the module takes it from
    C(database-password).
  - A damaged file is an error, because new secrets would lock people or the hub out.
options:
  directory:
    description: The instance's directory. C(hub) in it must exist.
    type: path
    required: true
  owner: {description: Numeric id of the engine's account., type: int, required: true}
  group: {description: Numeric id of the account's group., type: int, required: true}
  database:
    description: Whether the hub uses PostgreSQL, which needs a password.
    type: bool
    default: false
  client_secret: {description: The hub's secret at its identity provider., type: str}
  dummy_password: {description: The one password of the dummy authenticator., type: str}
  services:
    description: Names of the administrator's services. Each gets its own token.
    type: list
    elements: str
    default: []
  authenticator_secrets:
    description: Secret traits of the authenticator's class, by their names.
    type: dict
    default: {}
  passwords:
    description: First passwords of users, by their names.
    type: dict
    default: {}
extends_documentation_fragment:
  - carrel.jupyter.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details: The diff says which secrets change, without showing them.
  idempotent:
    support: full
seealso:
  - module: carrel.jupyter.hub_access
"""

EXAMPLES = r"""
- name: Write the secrets of a hub whose users log in at GitHub
  carrel.jupyter.hub_secrets:
    directory: /srv/class101
    owner: 1001
    group: 1001
    client_secret: "{{ vault_github_secret }}"
  register: hub_secrets
"""

RETURN = r"""
checksum:
  description:
    - The SHA-256 of C(hub/secrets.json), for a label that makes compose recreate the hub's container when it changes.
    - In check mode, if the secrets were not generated yet, it differs from that of a real run.
  type: str
  returned: success
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrel.jupyter.plugins.module_utils._changes.tracker import Tracker
from ansible_collections.carrel.jupyter.plugins.module_utils._host import files, secret_files
from ansible_collections.carrel.jupyter.plugins.module_utils._site import hub_secrets


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "directory": {"type": "path", "required": True},
            "owner": {"type": "int", "required": True},
            "group": {"type": "int", "required": True},
            "database": {"type": "bool", "default": False},
            "client_secret": {"type": "str", "no_log": True},
            "dummy_password": {"type": "str", "no_log": True},
            "services": {"type": "list", "elements": "str", "default": []},
            "authenticator_secrets": {"type": "dict", "default": {}, "no_log": True},
            "passwords": {"type": "dict", "default": {}, "no_log": True},
        },
        supports_check_mode=True,
    )
    tracker = Tracker()
    try:
        texts = secret_files.apply(module.params, module.check_mode, tracker)
    except (hub_secrets.DamagedError, files.UnsafePathError, OSError, ValueError) as error:
        module.fail_json(msg=f"{error}. The secrets stay as they were.")
    module.exit_json(**tracker.result(checksum=secret_files.checksum(texts)))


if __name__ == "__main__":
    main()
