#!/usr/bin/python
# Copyright: the carrel.jupyter authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: docker_login_copy
short_description: Copy an account's registry log-ins to a place where root can safely read them
version_added: 0.1.0
author: the carrel.jupyter authors (@carrel)
description:
  - Reads what C(docker login) wrote in an account's home, and writes the log-ins to a folder in C(/run) that
    belongs to root, for modules that pull images as root. If they read the account's own file, the account could
    replace it with a pipe on which they wait, or make them run programs.
  - Log-ins that a credential helper keeps are left out, with a warning. Resets can use them, because they run as the
    account.
  - The copy is gone after a boot. Each run writes it, which does not count as a change.
options:
  name:
    description: Name of the account.
    type: str
    required: true
  home:
    description: Home of the account.
    type: path
    required: true
extends_documentation_fragment:
  - carrel.jupyter.attributes
attributes:
  check_mode:
    support: full
    details: Nothing is written; pulls in check mode have no log-in.
  diff_mode:
    support: none
  idempotent:
    support: full
seealso:
  - module: carrel.jupyter.rootless_docker_engines
"""

EXAMPLES = r"""
- name: Copy tao's log-ins
  carrel.jupyter.docker_login_copy:
    name: tao
    home: /home/tao
  register: login

- name: Pull an image with the log-ins
  community.docker.docker_image_pull:
    name: registry.example.org/private:1.0
    docker_host: unix:///run/carrel/engines/run-user-1001/docker.sock # from engine_sockets
  environment:
    DOCKER_CONFIG: "{{ login.directory }}"
"""

RETURN = r"""
directory:
  description: The folder for C(DOCKER_CONFIG).
  returned: success
  type: str
  sample: /run/carrel/docker/tao
"""

import json

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrel.jupyter.plugins.module_utils._changes.file import File
from ansible_collections.carrel.jupyter.plugins.module_utils._host import docker_logins, files

DIRECTORY = "/run/carrel/docker/{}"


def main() -> None:
    module = AnsibleModule(
        argument_spec={"name": {"type": "str", "required": True}, "home": {"type": "path", "required": True}},
        supports_check_mode=True,
    )
    source = docker_logins.path(module.params["home"])
    target = DIRECTORY.format(module.params["name"])
    try:
        logins, helpers = docker_logins.read(module.params["home"])
        if helpers:
            module.warn(f"{source} names credential helpers, which root does not run: images are pulled without them")
        if not module.check_mode:
            content = json.dumps({"auths": logins}).encode()
            files.write(f"{target}/config.json", File(content, 0o600))
    except (files.UnsafePathError, OSError, ValueError) as error:
        module.fail_json(msg=f"the log-ins of {module.params['name']} cannot be read from {source}: {error}")
    module.exit_json(changed=False, directory=target)


if __name__ == "__main__":
    main()
