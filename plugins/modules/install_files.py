#!/usr/bin/python
# Copyright: the carrel.jupyter authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: install_files
short_description: Write many small files and directories in one call, never through a link
version_added: 0.1.0
description:
  - Creates directories and writes files as root. Each file is replaced atomically. Every path is opened component by
    component without following symbolic links, so users cannot redirect root to other files.
  - A directory that exists with another owner is reported and left as it is, because its content belongs to somebody
    else.
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
  directories:
    description: Directories to create, parents first.
    type: list
    elements: dict
    default: []
    suboptions:
      path: {description: Absolute path., type: str, required: true}
      owner: {description: Numeric id of the owner., type: int, default: 0}
      group: {description: Numeric id of the group. It is enforced for directories of root., type: int, default: 0}
      mode:
        description:
          - Octal mode.
          - It is enforced for directories of root. Others get it at creation; after that their owner may change it.
        type: str
        default: "0755"
  limits:
    description:
      - Disk limits of directories, by project quotas of their file system. Existing files count, too.
      - If the file system has no project quotas, a warning says so.
    type: list
    elements: dict
    default: []
    suboptions:
      paths: {description: Directories that share the limit., type: list, elements: str, required: true}
      bytes: {description: The limit; 0 removes a limit of this module., type: int, required: true}
  files:
    description: Files to write.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Absolute path. Missing directories above it are created as root with mode 0755.
        type: str
        required: true
      content: {description: "The whole content. Without it, the content is in O(secret_contents).", type: str}
      owner: {description: Numeric id of the owner., type: int, default: 0}
      group: {description: Numeric id of the group., type: int, default: 0}
      mode: {description: Octal mode., type: str, default: "0644"}
  secret_contents:
    description:
      - The whole content of files without O(files[].content), by their path. It is in no diff and no log.
      - This is a separate option, because Ansible logs a list as escaped text, in which it does not find secrets with
        quotes or line ends.
    type: dict
    default: {}
  absent:
    description: Absolute paths of files to remove. Directories are never removed.
    type: list
    elements: str
    default: []
author:
  - the carrel.jupyter authors (@carrel)
seealso:
  - module: carrel.jupyter.install_folder
"""

EXAMPLES = r"""
- name: Make a directory for a container's user and write a file beside it
  carrel.jupyter.install_files:
    directories:
      - {path: /srv/tao, mode: "0711"}
      - {path: /srv/tao/data, mode: "0711"}
      - {path: /srv/tao/data/notebooks, owner: 100999, group: 100099, mode: "0750"}
    files:
      - {path: /srv/tao/.env, mode: "0600"}
    secret_contents:
      /srv/tao/.env: "A='1'\n"
"""

RETURN = r"""
paths:
  description: The paths that were changed, or would be in check mode.
  returned: always
  type: list
  elements: str
  sample: [/srv/tao/.env]
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrel.jupyter.plugins.module_utils._changes.tracker import Tracker
from ansible_collections.carrel.jupyter.plugins.module_utils._host import install
from ansible_collections.carrel.jupyter.plugins.module_utils._shared.told import Told


def main() -> None:
    owner: dict[str, Any] = {"owner": {"type": "int", "default": 0}, "group": {"type": "int", "default": 0}}
    path: dict[str, Any] = {"path": {"type": "str", "required": True}}
    module = AnsibleModule(
        argument_spec={
            "directories": {
                "type": "list", "elements": "dict", "default": [],
                "options": {**path, **owner, "mode": {"type": "str", "default": "0755"}},
            },
            "limits": {
                "type": "list", "elements": "dict", "default": [],
                "options": {
                    "paths": {"type": "list", "elements": "str", "required": True},
                    "bytes": {"type": "int", "required": True},
                },
            },
            "files": {
                "type": "list", "elements": "dict", "default": [],
                "options": {
                    **path, **owner,
                    "content": {"type": "str"},
                    "mode": {"type": "str", "default": "0644"},
                },
            },
            "secret_contents": {"type": "dict", "default": {}, "no_log": True},
            "absent": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )  # fmt: skip
    tracker = Tracker()
    work = install.Installation(tracker, module.check_mode)
    given = module.params
    try:
        work.run(given["directories"], given["files"], given["secret_contents"], given["absent"], given["limits"])
    except install.IncompleteError as error:
        module.fail_json(msg=str(error), paths=[])
    except Told as error:
        module.fail_json(msg=str(error), changed=tracker.changed, paths=work.changed)
    except OSError as error:
        module.fail_json(
            msg=f"{error.filename or 'a file'}: {error.strerror}. What was written before it is complete; "
            "remove the cause and run again.",
            changed=tracker.changed,
            paths=work.changed,
        )
    for warning in work.quotas.warnings():
        module.warn(warning)
    module.exit_json(**tracker.result(paths=work.changed))


if __name__ == "__main__":
    main()
