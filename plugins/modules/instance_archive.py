#!/usr/bin/python
# Copyright: the carrel.jupyter authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: instance_archive
short_description: Archive the directory of a removed instance, with all of its data
version_added: 0.1.0
description:
  - Renames the instance's directory to C(BASE/.archive/NAME-TIME) on the same file system. This takes no time and no
    space, and keeps all owners and modes. Nothing is deleted.
  - Leaves the directory as it is, with a warning, if no C(/var/lib/carrel/NAME/instance.json) says that it is an
    instance's.
  - Frees the instance's name and ports by removing its record under C(/var/lib/carrel), with the records of its images
    and its resets, and the directory of the socket for the page Backups.
  - Moves the state of its backups into C(.backup) of the archive, so that they go on if the instance comes back, and an
    instance of the same name does not continue them.
  - The engine and its account stay, because files in the archive belong to the account;
    M(carrel.jupyter.instance_purge) deletes all of these for good.
  - To bring an instance back, move its directory back and declare it again.
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
    description: Name of the instance. Its containers must be gone already.
    type: str
    required: true
  directory:
    description: The instance's directory.
    type: str
    required: true
author:
  - the carrel.jupyter authors (@carrel)
seealso:
  - module: carrel.jupyter.instance_purge
"""

EXAMPLES = r"""
- name: Archive a finished course
  carrel.jupyter.instance_archive:
    name: class101
    directory: /srv/class101
"""

RETURN = r"""
archive:
  description: The new path of the directory; empty if nothing was archived.
  returned: success
  type: str
  sample: /srv/.archive/class101-20261122T230102Z
"""

import contextlib
import os
import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrel.jupyter.plugins.module_utils._changes.file import File
from ansible_collections.carrel.jupyter.plugins.module_utils._changes.tracker import Tracker
from ansible_collections.carrel.jupyter.plugins.module_utils._host import directories, files, removal
from ansible_collections.carrel.jupyter.plugins.module_utils._plan import names
from ansible_collections.carrel.jupyter.plugins.module_utils._shared.told import Told

BACKUPS = ("state.json", "leaves.json")  # as in carrel_backup/state.py, which takes them back


def archive(directory: str, target: str) -> None:
    """Rename a directory into a folder that only root can enter."""
    parent, name = os.path.split(directory)
    folder, new_name = os.path.split(target)
    above = files.open_directory(parent)
    try:
        archives = directories.root_only(above, os.path.basename(folder), folder)
        try:
            os.rename(name, new_name, src_dir_fd=above, dst_dir_fd=archives)
        finally:
            os.close(archives)
    finally:
        os.close(above)


def keep_past(state: str, directory: str | None, tracker: Tracker, check_mode: bool) -> None:
    """Move the state of the backups into the directory. Without one, nothing can come back that needs it."""
    for name in BACKUPS:
        path = f"{state}/backup/{name}"
        found = files.read(path)
        if found is None:
            continue
        tracker.note(path, "present\n", None)
        if check_mode:
            continue
        if directory and os.path.lexists(directory):
            files.write(f"{directory}/.backup/{name}", File(found.content, 0o600))
        files.remove(path)


def check_archives(path: str) -> None:
    """Raise ForeignOwnerError for a folder of another account, which would get what is archived."""
    try:
        descriptor = files.open_directory(path)
    except FileNotFoundError:
        return
    try:
        status = os.fstat(descriptor)
        if status.st_uid != 0:
            raise directories.ForeignOwnerError(
                directories.foreign(path, status.st_uid, status.st_gid, directories.Wanted(0, 0, 0o700))
            )
    finally:
        os.close(descriptor)


def main() -> None:
    module = AnsibleModule(
        argument_spec={"name": {"type": "str", "required": True}, "directory": {"type": "str", "required": True}},
        supports_check_mode=True,
    )
    name, directory = module.params["name"], module.params["directory"].rstrip("/")
    wrong = names.refusal(name)
    if wrong:
        module.fail_json(msg=wrong)
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    target = f"{os.path.dirname(directory)}/.archive/{name}-{stamp}"
    state = removal.STATE.format(name)
    tracker = Tracker()
    moved = False
    try:
        own, there = removal.owns(name, directory), os.path.lexists(directory)
        if there and not own:
            module.warn(removal.stays(name, directory))
        if there and own:
            os.close(files.open_directory(directory))
            check_archives(os.path.dirname(target))
        keep_past(state, directory if own else None, tracker, module.check_mode)
        if there and own:
            moved = tracker.note(directory, f"{directory}\n", f"{target}\n")
            if not module.check_mode:
                archive(directory, target)
        # The page's directory belongs to the group of the account, which may get another id before the hub comes back.
        for folder in (f"{state}/reset", f"{state}/page"):
            left = os.path.lexists(folder) or directories.is_left(folder)
            if tracker.note(folder, f"{folder}\n" if left else None, None) and not module.check_mode:
                directories.remove_tree(folder)
        # The record last: until it is gone, the next run knows that something is left to do.
        for name_of_it in ("made_anew", "deployed", "smoked", "before", "image", "instance"):
            path = f"{state}/{name_of_it}.json"
            if tracker.note(path, files.read(path) and "present\n", None) and not module.check_mode:
                files.remove(path)
        if tracker.changed and not module.check_mode:
            with contextlib.suppress(OSError):
                os.rmdir(state)
    except (Told, OSError, ValueError) as error:
        module.fail_json(msg=f"{name} was not archived: {error}")
    module.exit_json(**tracker.result(archive=target if moved else ""))


if __name__ == "__main__":
    main()
