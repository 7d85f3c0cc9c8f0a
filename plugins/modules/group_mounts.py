#!/usr/bin/python
# Copyright: the carrel.jupyter authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: group_mounts
short_description: Create the groups' directories of a JupyterHub and write who gets which mounts
version_added: 0.1.0
description:
  - Creates the directories that groups share, and writes the mounts file. The hub's spawn hook reads it at every
    spawn, so a change of membership needs no restart of the hub. C(docs/reference/hub-mounts.md) describes the file.
  - The directories are setgid and writable for the group, and have a default ACL, so that all members can change each
    other's files, whatever their umask. On a file system without ACLs a warning says that the umask counts.
  - Directories of removed groups are kept. They are no longer mounted.
  - The file is written first, with the directories that exist, so that people who left a group lose access even if a
    later step fails. It is written again after the other directories were created.
  - A directory with a foreign owner is reported and left as it is. If there is a link instead of a directory, or a
    folder above it does not belong to root, nobody gets the directory until this is fixed, and the module fails.
extends_documentation_fragment:
  - carrel.jupyter.attributes
  - carrel.jupyter.hub_users
options:
  path:
    description:
      - Absolute path of the instance's data. All sources are in it.
      - The users' directories are expected in C(PATH/users), where M(carrel.jupyter.user_volumes) creates them.
    type: str
    required: true
  file:
    description:
      - Absolute path of the mounts file. The whole file is replaced, so mount its directory into the hub, not the file.
      - It must be outside of O(path).
    type: str
    required: true
  file_group:
    description: Numeric id, on the host, of the group that may read the file. By default everybody may.
    type: int
  home:
    description: The directory in the container where relative targets begin.
    type: str
    default: /home/jovyan/work
  targets:
    description: Directories in the container, besides O(home), in which targets may be.
    type: list
    elements: str
    default: []
  users:
    description: All users of the hub.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: The name as JupyterHub knows it, so in lower case.
        type: str
        required: true
      groups:
        description: Groups of the user, in addition to those that name the user.
        type: list
        elements: str
        default: []
      admin: {description: Whether the user is an admin of the hub., type: bool, default: false}
  user_directories:
    description: Where each of a user's own directories is mounted. The target V(.) is O(home).
    type: list
    elements: dict
    default: [{name: home, target: .}, {name: settings, target: /home/jovyan/.jupyter/lab}]
    suboptions:
      name: {description: Name of the directory., type: str, required: true}
      target: {description: "Path in the container, relative to O(home) or absolute.", type: str, required: true}
  groups:
    description: The groups.
    type: list
    elements: dict
    default: []
    suboptions:
      name: {description: Name of the group., type: str, required: true}
      members: {description: Names of users., type: list, elements: str, default: []}
      admins: {description: Names of users., type: list, elements: str, default: []}
      mounts:
        description:
          - The mounts of the group's people. A user in several groups with one source gets the wider mode.
          - By default the directory C(PATH/groups/NAME) at C(groups/NAME), writable for the whole group.
        type: list
        elements: dict
        suboptions:
          source:
            description:
              - A directory below O(path), relative or absolute, but not in its users, hub or database. It is created if
                it is missing.
            type: str
            required: true
          target:
            description: Path in the container, relative to O(home) or absolute. By default the same as the source.
            type: str
          members: {description: Mode for members., type: str, choices: [none, ro, rw], default: rw}
          admins: {description: Mode for admins of the group., type: str, choices: [none, ro, rw], default: rw}
          disk:
            description:
              - Bytes that the directory may take, by a project quota of the file system; of several groups with one
                source, the largest counts. If there are no project quotas, a warning says so.
            type: int
  shared:
    description: Mount C(PATH/shared) at C(shared), read-only for users and writable for admins of the hub.
    type: bool
    default: true
  colab:
    description: Mount C(PATH/colab) at C(colab), writable for all users.
    type: bool
    default: true
  users_view:
    description: The mode in which admins of the hub get the directories of all users, at C(users).
    type: str
    choices: [none, ro, rw]
    default: ro
seealso:
  - module: carrel.jupyter.user_volumes
  - module: carrel.jupyter.hub_access
"""

EXAMPLES = r"""
- name: Let two groups share a directory each, and one of them read a data set
  carrel.jupyter.group_mounts:
    path: /srv/class101/data
    file: /srv/class101/hub/mounts.json
    account: class101
    users:
      - {name: ada, groups: [statistics]}
      - {name: grace, groups: [statistics, geography]}
      - {name: prof, admin: true}
    groups:
      - name: statistics
        admins: [prof]
      - name: geography
        admins: [prof]
        mounts:
          - {source: groups/geography}
          - {source: datasets/tiles, target: tiles, members: ro}
"""

RETURN = r"""
effective_mounts:
  description:
    - The mounts of each user, as text, sorted by target. A line has the target, the mode, the source and the reason.
    - Programs should read the mounts file instead; C(docs/reference/hub-mounts.md) describes it.
  returned: unless the input is refused
  type: dict
  sample:
    ada: |-
      /home/jovyan/work rw /srv/class101/data/users/ada/home (the user's own)
      /home/jovyan/work/groups/statistics rw /srv/class101/data/groups/statistics (member of statistics)
directories:
  description: The mounted directories, without those of users.
  returned: unless the input is refused
  type: list
  elements: str
  sample: [/srv/class101/data/groups/statistics, /srv/class101/data/shared]
owner:
  description: The ids on the host that own the directories.
  returned: unless the input is refused
  type: dict
  sample: {uid: 100999, gid: 100099}
problems:
  description: Problems of the input, and what was left as it is, with the reason. If there are any, the module fails.
  returned: always
  type: list
  elements: str
  sample: []
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrel.jupyter.plugins.module_utils._changes.tracker import Tracker
from ansible_collections.carrel.jupyter.plugins.module_utils._host import group_directories
from ansible_collections.carrel.jupyter.plugins.module_utils._host.ids import ARGUMENTS, host_ids
from ansible_collections.carrel.jupyter.plugins.module_utils._people.group_mounts import Plan


def main() -> None:
    name: dict[str, Any] = {"name": {"type": "str", "required": True}}
    names: dict[str, Any] = {"type": "list", "elements": "str", "default": []}
    mode: dict[str, Any] = {"type": "str", "choices": ["none", "ro", "rw"], "default": "rw"}
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "str", "required": True},
            "file": {"type": "str", "required": True},
            "file_group": {"type": "int"},
            **ARGUMENTS,
            "home": {"type": "str", "default": "/home/jovyan/work"},
            "targets": names,
            "users": {
                "type": "list", "elements": "dict", "required": True,
                "options": {**name, "groups": names, "admin": {"type": "bool", "default": False}},
            },
            "user_directories": {
                "type": "list", "elements": "dict",
                "default": [
                    {"name": "home", "target": "."},
                    {"name": "settings", "target": "/home/jovyan/.jupyter/lab"},
                ],
                "options": {**name, "target": {"type": "str", "required": True}},
            },
            "groups": {
                "type": "list", "elements": "dict", "default": [],
                "options": {
                    **name, "members": names, "admins": names,
                    "mounts": {
                        "type": "list", "elements": "dict",
                        "options": {
                            "source": {"type": "str", "required": True}, "target": {"type": "str"},
                            "members": mode, "admins": mode, "disk": {"type": "int"},
                        },
                    },
                },
            },
            "shared": {"type": "bool", "default": True},
            "colab": {"type": "bool", "default": True},
            "users_view": {**mode, "default": "ro"},
        },
        supports_check_mode=True,
    )  # fmt: skip
    given = module.params
    plan = Plan(given)
    if plan.problems:
        module.fail_json(msg=plan.message(), problems=plan.problems)
    try:
        uid, gid = host_ids(given["account"], given["uid"], given["gid"])
    except (ValueError, OSError) as error:
        module.fail_json(msg=str(error), problems=[str(error)])
    path, sources = given["path"].rstrip("/"), sorted(plan.sources)
    tracker = Tracker()
    returned = {
        # One text a user: Ansible handles every string of a result several times, and a course has tens of thousands.
        "effective_mounts": {user: "\n".join(map(str, mounts)) for user, mounts in plan.effective.items()},
        "directories": [f"{path}/{source}" for source in sources],
        "owner": {"uid": uid, "gid": gid},
    }
    made = group_directories.apply(given, plan, uid, gid, module.check_mode, tracker)
    for warning in made.warnings():
        module.warn(warning)
    result = tracker.result(**returned, problems=made.problems)
    if made.problems:
        module.fail_json(msg="\n".join(made.problems), **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
