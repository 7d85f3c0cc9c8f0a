#!/usr/bin/python
# Copyright: the carrel.jupyter authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: install_folder
short_description: Copy a folder from the control node to a host in one step
version_added: 0.1.0
author: the carrel.jupyter authors (@carrel)
description:
  - Sends the folder as one archive, however many files it has, and puts it in place completely or not at all.
  - A folder that exists is left as it is, so O(dest) should contain a digest of the content, from
    P(carrel.jupyter.folder_digest#lookup).
  - Everything in it belongs to root, and only root can enter it. Files have mode 0755 if their owner may execute
    them on the control node, otherwise 0644. C(__pycache__) is left out. A link out of the folder becomes a copy of the
    file that it leads to.
options:
  src:
    description:
      - The folder on the control node; a relative path is searched in the role's C(files) and beside the playbook.
    type: path
    required: true
  dest:
    description: Absolute path on the host. Missing directories above it are created as root with mode 0755.
    type: path
    required: true
  files:
    description: The contents of more text files, by their paths in the folder.
    type: dict
    default: {}
  alone:
    description:
      - Whether folders of earlier builds are removed from the directory above O(dest). O(src) must not be in it.
      - These are folders whose names are twelve hexadecimal digits, as in a digest. A folder stays for six hours after
        its last use, because another run may build from it.
    type: bool
    default: false
  archive:
    description: Path of the archive on the host. The action plugin of the same name sets it; playbooks must not.
    type: path
extends_documentation_fragment:
  - carrel.jupyter.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
seealso:
  - module: carrel.jupyter.install_files
"""

EXAMPLES = r"""
- name: Copy the folder of a Dockerfile to the host
  carrel.jupyter.install_folder:
    src: "{{ folder }}"
    dest: "/srv/geo/build/{{ lookup('carrel.jupyter.folder_digest', folder) }}"
    alone: true
  vars:
    folder: images/geo
"""

RETURN = r"""
dest:
  description: The folder's path.
  returned: success
  type: str
  sample: /srv/geo/build/6f1ed002ab55
missing:
  description: Whether the folder was not there.
  returned: success
  type: bool
  sample: false
"""

import contextlib
import os
import re
import shutil
import stat
import tarfile
import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrel.jupyter.plugins.module_utils._changes.tracker import Tracker
from ansible_collections.carrel.jupyter.plugins.module_utils._host import files

LONGEST_BUILD = 6 * 3600  # seconds
# A digest, and a copy that is not complete.
OWN_NAME = re.compile(r"[0-9a-f]{12}|\.[0-9a-f]{12}\.new")


def unpack(archive: str, dest: str) -> None:
    """Unpack beside the destination and rename: a killed run leaves no incomplete folder."""
    parent, name = os.path.split(dest)
    above = files.open_directory(parent, create=True)
    try:
        temporary = f"/proc/self/fd/{above}/.{name}.new"
        if os.path.lexists(temporary):
            shutil.rmtree(temporary)
        os.mkdir(temporary, 0o700)
        with tarfile.open(archive) as content:
            # The control node is trusted for everything else, too; Python's own filter would refuse absolute links.
            content.extraction_filter = lambda member, path: member
            content.extractall(temporary)  # noqa: S202
        os.rename(temporary, f"/proc/self/fd/{above}/{name}")
    finally:
        os.close(above)


def earlier(dest: str) -> list[str]:
    """The names of folders beside this one that an earlier build, or an earlier copy that was killed, has left."""
    parent, name = os.path.split(dest)
    found = []
    try:
        above = files.open_directory(parent)
    except FileNotFoundError:
        return []
    try:
        for other in sorted(set(os.listdir(above)) - {name}):
            with contextlib.suppress(FileNotFoundError):
                status = os.stat(other, dir_fd=above, follow_symlinks=False)
                old = time.time() - status.st_mtime > LONGEST_BUILD
                if OWN_NAME.fullmatch(other) and stat.S_ISDIR(status.st_mode) and old:
                    found.append(other)
    finally:
        os.close(above)
    return found


def remove(dest: str, names: list[str]) -> None:
    above = files.open_directory(os.path.dirname(dest))
    try:
        for name in names:
            temporary = f".{name.strip('.')[:12]}.new"
            with contextlib.suppress(FileNotFoundError):  # another run does the same
                # If this run is killed, no later one must take the rest for a complete folder.
                os.rename(name, temporary, src_dir_fd=above, dst_dir_fd=above)
                shutil.rmtree(f"/proc/self/fd/{above}/{temporary}")
    finally:
        os.close(above)


def main() -> None:
    # Called by the action plugin, first without an archive to ask whether one is needed.
    module = AnsibleModule(
        argument_spec={
            "src": {"type": "path", "required": True},
            "dest": {"type": "path", "required": True},
            "files": {"type": "dict", "default": {}},
            "alone": {"type": "bool", "default": False},
            "archive": {"type": "path"},
        },
        supports_check_mode=True,
    )
    dest, archive = module.params["dest"].rstrip("/"), module.params["archive"]
    tracker = Tracker()
    try:
        missing = False
        try:
            folder = files.open_directory(dest)
            if module.params["alone"] and not module.check_mode:
                os.utime(folder)  # other runs see that it is in use
            os.close(folder)
        except FileNotFoundError:
            missing = True
        if tracker.note(dest, None if missing else "folder\n", "folder\n") and archive and not module.check_mode:
            unpack(archive, dest)
        unwanted = earlier(dest) if module.params["alone"] else []
        for name in unwanted:
            tracker.note(f"{os.path.dirname(dest)}/{name}", "of an earlier build\n", None)
        if unwanted and not module.check_mode and (archive or not missing):
            remove(dest, unwanted)
    except (files.UnsafePathError, OSError, tarfile.TarError) as error:
        module.fail_json(msg=f"{dest} could not be put in place: {error}")
    module.exit_json(**tracker.result(dest=dest, missing=missing))


if __name__ == "__main__":
    main()
