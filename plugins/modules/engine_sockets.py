#!/usr/bin/python
# Copyright: the carrel.jupyter authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: engine_sockets
short_description: Give root a path to rootless engines' sockets on which no link is followed
version_added: 0.2.0
author: the carrel.jupyter authors (@carrel)
description:
  - An engine's account can put a link to another engine's socket in place of its own, for example to that of a rootful
    Docker. Modules and programs that get the path, such as those of the collection community.docker, follow it as root.
  - This module mounts the socket's directory a second time, in C(/run/carrel/engines), where only root can enter, with
    the options C(ro) and C(nosymfollow). If there is no socket but a link, nothing answers there. If the engine
    restarts, the path leads to its new socket.
  - If only root can change a socket's directory, such as C(/run), the path stays as it is.
  - The mounts are gone after a boot. Each run makes those that are missing, also in check mode, and removes those whose
    directory is gone. This does not count as a change.
options:
  sockets:
    description: Paths of the sockets, for a rootless engine C(/run/user/UID/docker.sock). They do not have to exist.
    type: list
    elements: path
    required: true
extends_documentation_fragment:
  - carrel.jupyter.attributes
attributes:
  check_mode:
    support: full
    details: The mounts are made, because other tasks read through them.
  diff_mode:
    support: none
  idempotent:
    support: full
requirements:
  - Linux 5.14 or later
seealso:
  - module: carrel.jupyter.rootless_docker_engines
"""

EXAMPLES = r"""
- name: Mount the directory of the engine's socket
  carrel.jupyter.engine_sockets:
    sockets: [/run/user/1001/docker.sock]
  register: engine

- name: Start what a compose file of root's declares
  community.docker.docker_compose_v2:
    project_src: /srv/tao
    docker_host: unix://{{ engine.paths['/run/user/1001/docker.sock'] }}
"""

RETURN = r"""
paths:
  description: The path to use, by the path that was given.
  returned: success
  type: dict
  sample: {/run/user/1001/docker.sock: /run/carrel/engines/run-user-1001/docker.sock}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrel.jupyter.plugins.module_utils._host import directories, engine_mounts, files


def main() -> None:
    module = AnsibleModule(
        argument_spec={"sockets": {"type": "list", "elements": "path", "required": True}}, supports_check_mode=True
    )
    try:
        found = engine_mounts.mounted(module.params["sockets"])
    except (files.UnsafePathError, directories.ForeignOwnerError, OSError) as error:
        module.fail_json(
            msg=f"the engines' directories cannot be mounted in {engine_mounts.FOLDER}: {error}. This needs root, Linux"
            " 5.14 or later, and in a container the capability SYS_ADMIN"
        )
    for problem in found.problems:
        module.warn(problem)
    module.exit_json(changed=False, paths=found.paths)


if __name__ == "__main__":
    main()
