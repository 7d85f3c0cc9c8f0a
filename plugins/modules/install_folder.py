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
  - Everything in it belongs to root, and only root can enter it. Files keep their modes; C(__pycache__) is left out. A
    link out of the folder becomes a copy of the file that it leads to.
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
  vars:
    folder: images/geo
"""

RETURN = r"""
dest:
  description: The folder's path.
  returned: success
  type: str
  sample: /srv/geo/build/6f1ed002ab55
"""

import os
import shutil
import tarfile

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrel.jupyter.plugins.module_utils._changes.tracker import Tracker
from ansible_collections.carrel.jupyter.plugins.module_utils._host import files


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


def main() -> None:
    # Called by the action plugin, first without an archive to ask whether one is needed.
    module = AnsibleModule(
        argument_spec={
            "src": {"type": "path", "required": True},
            "dest": {"type": "path", "required": True},
            "files": {"type": "dict", "default": {}},
            "archive": {"type": "path"},
        },
        supports_check_mode=True,
    )
    dest, archive = module.params["dest"].rstrip("/"), module.params["archive"]
    tracker = Tracker()
    try:
        there = True
        try:
            os.close(files.open_directory(dest))
        except FileNotFoundError:
            there = False
        if tracker.note(dest, "folder\n" if there else None, "folder\n") and archive and not module.check_mode:
            unpack(archive, dest)
    except (files.UnsafePathError, OSError, tarfile.TarError) as error:
        module.fail_json(msg=f"{dest} could not be put in place: {error}")
    module.exit_json(**tracker.result(dest=dest))


if __name__ == "__main__":
    main()
