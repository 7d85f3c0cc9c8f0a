#!/usr/bin/python
# Copyright: the carrel.jupyter authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: hub_servers
short_description: Stop or remove all containers of a JupyterHub's users in one call
version_added: 0.1.0
author: the carrel.jupyter authors (@carrel)
description:
  - Finds the containers by their label C(carrel.instance). The hub's own containers do not have it.
  - Users' own directories are not touched. Stop the hub first, or it starts servers meanwhile.
  - Before V(absent), remove the hub's containers. Docker cannot start a stopped container whose network is gone.
options:
  name:
    description: Name of the instance.
    type: str
    required: true
  socket:
    description: Path of the engine's socket on the host.
    type: path
    required: true
  state:
    description: V(stopped) stops running containers; V(absent) removes all, and their networks.
    type: str
    choices: [stopped, absent]
    required: true
  timeout_seconds:
    description: Seconds that a server may take to end by itself.
    type: int
    default: 10
extends_documentation_fragment:
  - carrel.jupyter.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
requirements:
  - the docker command on the host
seealso:
  - module: carrel.jupyter.instance_reset
"""

EXAMPLES = r"""
- name: Remove the servers of a course that is over
  carrel.jupyter.hub_servers:
    name: class101
    socket: /run/user/1001/docker.sock
    state: absent
"""

RETURN = r"""
containers:
  description: The names of the containers that were stopped or removed, or would be in check mode.
  type: list
  elements: str
  returned: success
  sample: [class101_ada-40uni-2eexample]
networks:
  description: The names of the networks that were removed, or would be in check mode.
  type: list
  elements: str
  returned: success
  sample: [class101_users_ada-40uni-2eexample]
"""

import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrel.jupyter.plugins.module_utils._changes.tracker import Tracker
from ansible_collections.carrel.jupyter.plugins.module_utils._host import engine_socket
from ansible_collections.carrel.jupyter.plugins.module_utils._host.process import EndlessError, run

REMOVAL_SECONDS = 30
SECONDS = 120


def docker(
    module: AnsibleModule, *arguments: str, check: bool = True, seconds: float = SECONDS
) -> tuple[list[str], str]:
    """The words that a docker command prints, and its errors."""
    # --host and an environment that selects a context exclude each other
    try:
        command = [*engine_socket.docker(module.params["socket"]), *arguments]
        done = run(command, seconds, environment={"DOCKER_CONTEXT": "", "DOCKER_HOST": ""})
    except (EndlessError, engine_socket.SocketError) as error:
        module.fail_json(msg=str(error))
    if done.code != 0 and check:
        module.fail_json(msg=f"docker {arguments[0]} failed: {done.errors.strip()}")
    return done.output.split(), done.errors.strip()


def servers(module: AnsibleModule) -> list[str]:
    stopped_too = ["--all"] if module.params["state"] == "absent" else []
    names, _unused = docker(module, "ps", *stopped_too, *of_instance(module), "--format", "{{.Names}}")
    return sorted(names)


def networks(module: AnsibleModule) -> list[str]:
    """Of users' servers, once these are gone; the hub's own are compose's."""
    if module.params["state"] != "absent":
        return []
    names, _unused = docker(module, "network", "ls", *of_instance(module), "--format", "{{.Name}}")
    return sorted(names)


def of_instance(module: AnsibleModule) -> list[str]:
    return ["--filter", f"label=carrel.instance={module.params['name']}"]


def remove(module: AnsibleModule) -> None:
    """The remaining ones: the engine removes most of them by itself, which may take a moment."""
    deadline = time.monotonic() + REMOVAL_SECONDS
    while left := servers(module):
        _unused, error = docker(module, "rm", "--force", *left, check=False)
        if time.monotonic() > deadline:
            module.fail_json(msg=f"{', '.join(left)} could not be removed: {error}")
        time.sleep(0.2)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "socket": {"type": "path", "required": True},
            "state": {"type": "str", "choices": ["stopped", "absent"], "required": True},
            "timeout_seconds": {"type": "int", "default": 10},
        },
        supports_check_mode=True,
    )
    module.get_bin_path("docker", required=True)
    names, left = servers(module), networks(module)
    tracker = Tracker()
    tracker.note(f"servers of {module.params['name']}", "".join(f"{name}\n" for name in names), "")
    tracker.note(f"networks of {module.params['name']}", "".join(f"{name}\n" for name in left), "")
    if names and not module.check_mode:
        # docker stops them one after the other
        seconds = SECONDS + len(names) * (module.params["timeout_seconds"] + 1)
        docker(module, "stop", "--time", str(module.params["timeout_seconds"]), *names, seconds=seconds)
        if module.params["state"] == "absent":
            remove(module)
    if left and not module.check_mode:
        docker(module, "network", "rm", *left, seconds=SECONDS + len(left))
    module.exit_json(**tracker.result(containers=names, networks=left))


if __name__ == "__main__":
    main()
