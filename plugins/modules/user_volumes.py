#!/usr/bin/python
# Copyright: the carrel.jupyter authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: user_volumes
short_description: Create, archive and delete the directories or volumes of all users of a JupyterHub
version_added: 0.1.0
description:
  - Creates the directories that each user keeps, such as the home and the settings. With O(backend=directories) they
    are C(PATH/ada/home) and C(PATH/ada/settings) on the host, to be bind mounted into the user's container; with
    O(backend=volumes) they are the named volumes C(PREFIX_ada_home) and C(PREFIX_ada_settings).
  - These names contain the user's name as DockerSpawner escapes it for C({username}), so C(ada@uni.example) becomes
    C(ada-40uni-2eexample).
  - Only the innermost directories belong to users. O(path) and the users' directories in it belong to root; O(gid) can
    read them, and others can only pass, so no user can put anything where root works. Files below the innermost
    directories are never touched, except that O(users[].state=absent) deletes them.
  - Directories with a foreign owner, and links instead of directories, are reported and left as they are. All other
    users get their directories; then the module fails.
  - An empty volume's root is given to its user. Mount the volume with C(no_copy), or Docker copies the image's files in
    that place, and their owner, into an empty volume.
extends_documentation_fragment:
  - carrel.jupyter.attributes
  - carrel.jupyter.hub_users
options:
  backend:
    description: Where users' files are kept, in O(path) or in the engine at O(socket).
    type: str
    choices: [directories, volumes]
    default: directories
  path:
    description:
      - Absolute path of the directory of the users' directories. It is created if it is missing.
      - It must belong to root, and be used for nothing else. C(/srv) and the like are refused.
      - Required with O(backend=directories).
    type: str
  socket:
    description:
      - Path of the engine's socket on the host, for a rootless engine C(/run/user/UID/docker.sock).
      - Required with O(backend=volumes).
    type: path
  prefix:
    description:
      - The name of the hub, with which the volumes' names begin. It is also their label C(carrel.instance); the label
        C(carrel.user) is the user's name.
      - Required with O(backend=volumes).
    type: str
  hub_directory:
    description:
      - The hub's directory. C(hub/identities.json) in it remembers whose each name is. If O(users[].identity) is
        somebody else than before, the old directories are archived, and new ones are created.
      - If it has no such file, and no C(hub/roster.json), the hub is new. Volumes with its O(prefix) are then those of
        an earlier hub that was removed. The module leaves them as they are and fails.
      - Without it, whoever has a name gets the directories or volumes with this name.
    type: path
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
      identity:
        description:
          - The name as the identity provider has it. Different ones can be simplified to the same O(users[].name).
        type: str
      state:
        description:
          - V(present) creates missing directories. A user who has no directories, but has some in the archive, gets the
            last of these back.
          - V(held) leaves the user's directories as they are. Those of somebody else are archived, as with V(present).
          - V(archived) moves all of the user's directories to C(PATH/.archive/NAME-TIME), on the same file system.
          - Volumes are moved to volumes C(NAME.archived-TIME) with the label C(carrel.archived). To bring them back,
            copy from one volume to the other in a container that has both.
          - V(absent) deletes them with all their content, and needs O(purge). An archive is never deleted.
          - Stop the user's server first. A running server keeps its mounts, wherever they are moved. A volume that a
            container uses is reported and left as it is.
        type: str
        choices: [present, held, archived, absent]
        default: present
      disk:
        description:
          - Bytes that all directories of the user may take together, by a project quota of the file system. Existing
            files count. Without it, a limit that this module has set is removed.
          - If the file system has no project quotas, a warning says so. Volumes have none.
        type: int
  directories:
    description: The directories of each user.
    type: list
    elements: dict
    default: [{name: home}, {name: settings}]
    suboptions:
      name: {description: Name of the directory., type: str, required: true}
      mode:
        description: Octal mode at creation. After that its owner may change it.
        type: str
        default: "0700"
  prune:
    description:
      - What to do about users who have directories but are not in O(users).
      - V(archive) treats them as O(users[].state=archived).
      - Only directories that belong to root, have a user's name, and are empty or contain one of O(directories), count
        as users' directories. The module warns about others.
      - Volumes without this module's labels are never touched.
    type: str
    choices: [keep, archive]
    default: keep
  delete_after_days:
    description:
      - Delete, for good, directories that have been in the archive for this many days, by the time in their names. By
        default nothing is deleted.
    type: int
  control_time:
    description:
      - The time of the control node, in UTC. If the host's clock differs from it by more than a day,
        O(delete_after_days) deletes nothing, with a warning.
    type: str
  purge:
    description: Allow O(users[].state=absent), and complete a deletion that was interrupted.
    type: bool
    default: false
seealso:
  - module: carrel.jupyter.group_mounts
"""

EXAMPLES = r"""
- name: Create the directories of a hub's users, archive those of users who left, and delete them a year later
  carrel.jupyter.user_volumes:
    path: /srv/class101/data/users
    account: class101
    users:
      - name: ada@uni.example
      - name: grace@uni.example
    prune: archive
    delete_after_days: 365
    control_time: "{{ now(utc=true, fmt='%Y-%m-%dT%H:%M:%SZ') }}"

- name: Delete the files of one user for good
  carrel.jupyter.user_volumes:
    path: /srv/class101/data/users
    account: class101
    users:
      - {name: ada@uni.example, state: absent}
    purge: true

- name: Create volumes for the users instead
  carrel.jupyter.user_volumes:
    backend: volumes
    socket: /run/user/1001/docker.sock
    prefix: class101
    account: class101
    users:
      - name: ada@uni.example
"""

RETURN = r"""
directories:
  description: The directory of each present user; with volumes, the beginning of their names.
  returned: unless the input is refused
  type: dict
  sample: {ada@uni.example: /srv/class101/data/users/ada-40uni-2eexample}
archived:
  description: The archives, directories or volumes, of users who were archived by this run, or would be in check mode.
  returned: unless the input is refused
  type: dict
  sample: {bob: /srv/class101/data/users/.archive/bob-20261122T230102Z}
deleted:
  description: The users whose directories were deleted by this run, or would be in check mode.
  returned: unless the input is refused
  type: list
  elements: str
  sample: []
not_listed:
  description: Users who have directories but are not in the list. With O(prune=archive) they were archived.
  returned: unless the input is refused
  type: list
  elements: str
  sample: [bob]
owner:
  description: The ids on the host that own the directories.
  returned: unless the input is refused
  type: dict
  sample: {uid: 100999, gid: 100099}
problems:
  description: What was left as it is, and why. If there are any problems, the module fails.
  returned: always
  type: list
  elements: str
  sample: []
"""

import errno
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrel.jupyter.plugins.module_utils._changes.tracker import Tracker
from ansible_collections.carrel.jupyter.plugins.module_utils._host.engine_api import EngineError
from ansible_collections.carrel.jupyter.plugins.module_utils._host.ids import ARGUMENTS, host_ids
from ansible_collections.carrel.jupyter.plugins.module_utils._host.named_volumes import NamedVolumes
from ansible_collections.carrel.jupyter.plugins.module_utils._host.user_backend import Backend
from ansible_collections.carrel.jupyter.plugins.module_utils._host.user_directories import UserDirectories
from ansible_collections.carrel.jupyter.plugins.module_utils._people import user_volumes as volumes


def main() -> None:
    name: dict[str, Any] = {"name": {"type": "str", "required": True}}
    states = ["present", "held", "archived", "absent"]
    module = AnsibleModule(
        argument_spec={
            "backend": {"type": "str", "choices": ["directories", "volumes"], "default": "directories"},
            "path": {"type": "str"},
            "socket": {"type": "path"},
            "prefix": {"type": "str"},
            "hub_directory": {"type": "path"},
            "users": {
                "type": "list", "elements": "dict", "required": True,
                "options": {
                    **name, "identity": {"type": "str"},
                    "state": {"type": "str", "choices": states, "default": "present"}, "disk": {"type": "int"},
                },
            },
            "directories": {
                "type": "list", "elements": "dict", "default": [{"name": "home"}, {"name": "settings"}],
                "options": {**name, "mode": {"type": "str", "default": "0700"}},
            },
            **ARGUMENTS,
            "prune": {"type": "str", "choices": ["keep", "archive"], "default": "keep"},
            "delete_after_days": {"type": "int"},
            "control_time": {"type": "str"},
            "purge": {"type": "bool", "default": False},
        },
        required_if=[("backend", "directories", ["path"]), ("backend", "volumes", ["socket", "prefix"])],
        supports_check_mode=True,
    )  # fmt: skip
    given = module.params
    wrong = volumes.problems(given)
    if wrong:
        module.fail_json(msg="\n".join(wrong), problems=wrong)
    try:
        uid, gid = host_ids(given["account"], given["uid"], given["gid"])
        root, _unused = host_ids(given["account"], 0, 0)
    except (ValueError, OSError) as error:
        module.fail_json(msg=str(error), problems=[str(error)])
    work: Backend
    if given["backend"] == "volumes":
        work = NamedVolumes(given, module.check_mode, uid, gid, root)
    else:
        work = UserDirectories(given, module.check_mode, uid, gid)
    stopped = None
    try:
        work.run()
    except work.reported as error:
        work.problems.append(str(error))
    except (EngineError, OSError) as error:
        why, place = str(error), work.where
        if isinstance(error, OSError):
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            why, place = "the disk, or a quota, is full" if full else str(error.strerror), error.filename or place
        stopped = f"{place}: {why}. What was done before is complete; remove the cause and run again"
    tracker = Tracker()
    before, after = ("".join(f"{line}\n" for line in sorted(lines)) for lines in (work.before, work.after))
    tracker.note(work.where, before, after)
    result = tracker.result(
        directories={
            user: work.stem + directory for directory, user in volumes.by_directory(given["users"], "present").items()
        },
        archived=work.archived,
        deleted=work.deleted,
        not_listed=work.not_listed,
        owner={"uid": uid, "gid": gid},
        problems=work.problems,
    )
    for warning in work.warnings:
        module.warn(warning)
    if stopped or work.problems:
        module.fail_json(msg="\n".join([*work.problems, *([stopped] if stopped else [])]), **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
