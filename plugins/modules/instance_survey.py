#!/usr/bin/python
# Copyright: the carrel.jupyter authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: instance_survey
short_description: Read what others have set up on a host
version_added: 0.2.0
description:
  - Reads the containers of engines that are not the collection's, of rootless accounts and of root, the sites of Apache
    and nginx that send requests to them, and the jobs of cron that start them again.
  - Changes nothing. It must be root. The playbook C(carrel.jupyter.adopt) makes an inventory of it.
  - The result has secrets, so give the task C(no_log).
author:
  - the carrel.jupyter authors (@carrel)
options:
  base_dir:
    description: Folder of the instances' folders.
    type: path
    default: /srv
extends_documentation_fragment:
  - carrel.jupyter.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: N/A
    details:
      - Nothing is ever changed.
  idempotent:
    support: full
seealso:
  - module: carrel.jupyter.instance_info
"""

EXAMPLES = r"""
- name: Survey the host
  carrel.jupyter.instance_survey:
  register: survey
  no_log: true
"""

RETURN = r"""
hostname:
  description: The host's own name, with its domain if it knows it.
  returned: success
  type: str
  sample: lab1.example.org
base_dir:
  description: As O(base_dir).
  returned: success
  type: str
  sample: /srv
folders:
  description: What is in O(base_dir).
  returned: success
  type: list
  elements: str
  sample: [tao]
instances:
  description: Names that the collection has used on the host.
  returned: success
  type: list
  elements: str
  sample: []
engines:
  description:
    - The engines that are not the collection's. C(account) is null for Docker as root.
    - C(problem) says why its containers are not known.
    - C(ranges) counts the account's entries in C(/etc/subuid) and C(/etc/subgid).
    - C(containers) have the part of their environment that is not their image's, which mostly has a password.
    - The container of a JupyterHub has C(database), with its people and the hashes of their passwords, and when it was
      last C(written). If there are C(others), none was read. Then C(volumes) are the engine's own.
  returned: success
  type: list
  elements: dict
  sample:
    - account: tao
      uid: 1001
      home: /srv/tao
      unit: docker.service
      on_hold: false
      problem: null
      containers: []
      volumes: []
sites:
  description:
    - Virtual hosts of Apache and nginx that send requests to ports of the host itself.
    - C(addresses) are those that it listens on, if not on all.
    - C(limits) are the directives that let in only some, C(unread) the files that it includes, C(unresolved) and
      C(elsewhere) backends that are not followed. C(shared) says that the file does more than this site.
  returned: success
  type: list
  elements: dict
  sample:
    - path: /etc/apache2/sites-enabled/tao.conf
      names: [tao.example.org]
      port: 443
      tls: true
      certificate: /etc/ssl/tao.pem
      private_key: /etc/ssl/tao.key
      backends: [9288]
      addresses: []
      limits: []
      unread: []
      unresolved: []
      elsewhere: false
      shared: false
cron:
  description:
    - Jobs of cron that run compose, and which of the accounts and folders with containers they name.
    - C(shared) says that the file has other jobs.
  returned: success
  type: list
  elements: dict
  sample:
    - {path: /etc/cron.daily/reset_jupyter_tao, at: daily, pull: false, projects: [tao], shared: false}
starters:
  description:
    - Crontabs of root and of the accounts, and services of systemd, that run docker for what is here. C(projects) as in
      RV(cron).
  returned: success
  type: list
  elements: dict
  sample:
    - {path: /var/spool/cron/crontabs/tao, projects: [tao]}
stopped:
  description: Compose files without a container.
  returned: success
  type: list
  elements: str
  sample: []
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrel.jupyter.plugins.module_utils._host.survey import survey


def main() -> None:
    module = AnsibleModule(argument_spec={"base_dir": {"type": "path", "default": "/srv"}}, supports_check_mode=True)
    if os.geteuid() != 0:
        module.fail_json(msg="only root can read what accounts have set up: run it with become: true, or -b")
    module.exit_json(changed=False, **survey(module.params["base_dir"]))


if __name__ == "__main__":
    main()
