#!/usr/bin/python
# Copyright: the carrel.jupyter authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: server_config
short_description: Write jupyter_server_config.json with a password or a token
version_added: 0.1.0
author: the carrel.jupyter authors (@carrel)
description:
  - Writes a configuration for jupyter_server 1.24 to 2.x, which only the container's user can read.
  - A password is stored as the argon2 hash that jupyter_server's own C(passwd) makes. A hash that fits is kept.
  - Without O(password) and O(token), a token is generated once and kept in O(token_file).
  - RV(checksum) does not depend on the generated token, so a reset may rotate it, in O(path) and in O(token_file). But
    if this module generates a new token because O(token_file) was removed, the checksum changes.
  - With O(password) and without O(token), nobody can log in with a token.
  - People cannot change the password in the browser, because the server must not write the file.
options:
  path:
    description:
      - The file. Missing directories above it are created; neither it nor any part of its path may be a symbolic link.
      - Its directory must be in the container's E(JUPYTER_CONFIG_PATH).
    type: path
    required: true
  settings:
    description:
      - More traits, by class. The diff shows them, so do not put secrets here.
    type: dict
    default: {}
  password:
    description: The password, in clear text.
    type: str
  token:
    description: A fixed token. It is not written to O(token_file).
    type: str
  token_file:
    description:
      - The file for a generated token, with a line end. Required without O(password) and O(token).
      - With one of them, an existing file is removed, since its token is no longer valid.
    type: path
  cookie_secret_file:
    description:
      - The secret that signs log-ins, for the trait C(ServerApp.cookie_secret_file). Generated once, so that people
        stay logged in when the container is recreated.
      - If the password or token changes, a new one is generated, which logs everybody out.
    type: path
  owner:
    description:
      - The numeric user id, on the host, that owns O(path) and O(cookie_secret_file); that of the container's
        user.
    type: int
    required: true
  group:
    description: The numeric group id, on the host, of O(path) and O(cookie_secret_file).
    type: int
    required: true
  account_owner:
    description: The numeric user id that owns O(token_file).
    type: int
    default: 0
  account_group:
    description: The numeric group id of O(token_file).
    type: int
    default: 0
extends_documentation_fragment:
  - carrel.jupyter.attributes
attributes:
  check_mode:
    support: full
    details: The hash of a new password, and so RV(checksum), differ from the real run's, since hashes are salted.
  diff_mode:
    support: full
    details: Secrets are masked.
  idempotent:
    support: full
requirements:
  - argon2-cffi on the host, for O(password) (Debian's package is python3-argon2)
seealso:
  - module: carrel.jupyter.lab_health
"""

EXAMPLES = r"""
- name: Write the configuration of a lab with a password
  carrel.jupyter.server_config:
    path: /srv/tao/server/jupyter_server_config.json
    password: "{{ vault_tao_password }}"
    owner: 100999
    group: 100099
    settings:
      ServerApp:
        base_url: /tao/
        shutdown_no_activity_timeout: 0

- name: Write the configuration of a lab with a generated token
  carrel.jupyter.server_config:
    path: /srv/tao/server/jupyter_server_config.json
    token_file: /srv/tao/token
    owner: 100999
    group: 100099
    account_owner: 1001
    account_group: 1001
    cookie_secret_file: /srv/tao/server/cookie_secret
    settings:
      ServerApp:
        cookie_secret_file: /etc/carrel/cookie_secret
"""

RETURN = r"""
path:
  description: The file.
  type: str
  returned: success
checksum:
  description:
    - A SHA-256 for a label that makes compose recreate the container when it changes.
    - It is the checksum of the file, unless the token is a generated one.
  type: str
  returned: success
token_generated:
  description: Whether people log in with the token in O(token_file).
  type: bool
  returned: success
"""

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.carrel.jupyter.plugins.module_utils._changes.tracker import Tracker
from ansible_collections.carrel.jupyter.plugins.module_utils._host import files, server_settings
from ansible_collections.carrel.jupyter.plugins.module_utils._site import server_config


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "settings": {"type": "dict", "default": {}},
            "password": {"type": "str", "no_log": True},
            "token": {"type": "str", "no_log": True},
            "token_file": {"type": "path", "no_log": False},
            "cookie_secret_file": {"type": "path", "no_log": False},
            "owner": {"type": "int", "required": True},
            "group": {"type": "int", "required": True},
            "account_owner": {"type": "int", "default": 0},
            "account_group": {"type": "int", "default": 0},
        },
        required_one_of=[("password", "token", "token_file")],
        supports_check_mode=True,
    )
    if module.params["password"] is not None and server_settings.ARGON2_ERROR:
        reason = "on this host to hash the password (apt install python3-argon2)"
        module.fail_json(msg=missing_required_lib("argon2-cffi", reason=reason), exception=server_settings.ARGON2_ERROR)
    wrong = server_config.problems(module.params["settings"], module.params["password"], module.params["token"])
    if wrong:
        module.fail_json(msg="; ".join(wrong))
    tracker = Tracker()
    try:
        checksum, generated = server_settings.apply(module.params, module.check_mode, tracker)
    except (files.UnsafePathError, OSError) as error:
        module.fail_json(msg=f"{error}. {module.params['path']} stays as it was.")
    module.exit_json(**tracker.result(path=module.params["path"], checksum=checksum, token_generated=generated))


if __name__ == "__main__":
    main()
