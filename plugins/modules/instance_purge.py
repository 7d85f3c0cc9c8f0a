#!/usr/bin/python
# Copyright: the carrel.jupyter authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: instance_purge
short_description: Delete for good what C(state=absent) keeps of an instance
version_added: 0.1.0
author: the carrel.jupyter authors (@carrel)
description:
  - Deletes the archives of the instance, what C(/var/lib/carrel) has of its backups and moves, and the engine with its
    name, including images, volumes, configuration and the copy of the account's log-ins at registries.
  - Deletes the account with its home and its subordinate ids if the role rootless_docker made it, which the
    account's comment in C(/etc/passwd) says. Any other account is kept, with a warning that says how to delete it.
  - Gives the directories of its local backup repositories to root, so that the next account with the ids cannot read or
    delete the snapshots. If the instance comes back, its first backup gives them to its account. A warning names each
    repository that cannot be given to root.
  - Deletes nothing while the instance, or another one that uses its engine, is on the host, nor while an archive of
    another instance has files of the account, because another account would get its ids.
  - Completes a purge that was killed.
  - An account without a folder in C(/etc/rootless-docker) has no engine and is never touched.
  - Follows only links above a home, a data root or a repository, since C(/home) may be one. Deletes nothing while a
    file system is mounted on or in one of the directories.
extends_documentation_fragment:
  - carrel.jupyter.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  name:
    description: Name of the instance.
    type: str
    required: true
  base_dir:
    description: Directory of the instances, with their archives in C(.archive).
    type: path
    default: /srv
seealso:
  - module: carrel.jupyter.instance_archive
"""

EXAMPLES = r"""
- name: Delete everything that is left of a course
  carrel.jupyter.instance_purge:
    name: class101
"""

RETURN = r"""
deleted:
  description: What was deleted, or would be in check mode.
  returned: success
  type: list
  elements: str
  sample: [/srv/.archive/class101-20261122T230102Z, /srv/docker/class101, /home/class101, account class101]
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrel.jupyter.plugins.module_utils._changes.tracker import Tracker
from ansible_collections.carrel.jupyter.plugins.module_utils._host import purge
from ansible_collections.carrel.jupyter.plugins.module_utils._host.process import EndlessError
from ansible_collections.carrel.jupyter.plugins.module_utils._plan import names
from ansible_collections.carrel.jupyter.plugins.module_utils._shared.told import Told


def main() -> None:
    module = AnsibleModule(
        argument_spec={"name": {"type": "str", "required": True}, "base_dir": {"type": "path", "default": "/srv"}},
        supports_check_mode=True,
    )
    name, tracker = module.params["name"], Tracker()
    wrong = names.refusal(name)
    if wrong:
        module.fail_json(msg=wrong)
    archive = str(Path(module.params["base_dir"]) / ".archive")
    try:
        deleted, warnings = purge.purge(name, archive, tracker, module.check_mode)
    except (Told, EndlessError, OSError, ValueError) as error:
        module.fail_json(msg=f"{name}: {error}", changed=tracker.changed)
    for text in warnings:
        module.warn(text)
    module.exit_json(**tracker.result(deleted=deleted))


if __name__ == "__main__":
    main()
