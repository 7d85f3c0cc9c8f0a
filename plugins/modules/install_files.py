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
  - Makes directories and writes files as root, each file atomically, every path opened component by component without
    following symbolic links, so that nothing a user puts in the way can redirect root.
  - A directory that exists with another owner is reported and left as it is, because its content belongs to somebody.
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
    description: Directories to make, parents first.
    type: list
    elements: dict
    default: []
    suboptions:
      path: {description: Absolute path., type: str, required: true}
      owner: {description: Numeric id of the owner., type: int, default: 0}
      group: {description: Numeric id of the group., type: int, default: 0}
      mode:
        description:
          - Octal mode.
          - It is enforced for directories of root. Others get it when made; then it is their owner's to change.
        type: str
        default: "0755"
  files:
    description: Files to write.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Absolute path. Missing directories above it are made as root with mode 0755.
        type: str
        required: true
      content: {description: "The whole content. Left out, it is in O(secret_contents).", type: str}
      owner: {description: Numeric id of the owner., type: int, default: 0}
      group: {description: Numeric id of the group., type: int, default: 0}
      mode: {description: Octal mode., type: str, default: "0644"}
  secret_contents:
    description:
      - The whole content of files without O(files[].content), by their path. It stays out of the diff and of every log.
      - An option of its own, because Ansible logs a list as a text with escapes, in which it finds no secret that has a
        quote or a line end.
    type: dict
    default: {}
  absent:
    description: Absolute paths of files to remove. Directories are never removed.
    type: list
    elements: str
    default: []
author:
  - the carrel.jupyter authors (@carrel)
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
  description: What was changed, or would be in check mode.
  returned: always
  type: list
  elements: str
  sample: [/srv/tao/.env]
"""

import os
import stat
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrel.jupyter.plugins.module_utils._changes.file import File
from ansible_collections.carrel.jupyter.plugins.module_utils._changes.tracker import Tracker
from ansible_collections.carrel.jupyter.plugins.module_utils._host import files


class ForeignOwnerError(Exception):
    """A directory belongs to somebody else."""


def ensure_directory(wanted: dict[str, Any], tracker: Tracker, check_mode: bool) -> bool:
    """Make one directory; return whether something changed."""
    path, owner, group, mode = wanted["path"], wanted["owner"], wanted["group"], int(wanted["mode"], 8)
    try:
        descriptor = files.open_directory(path)
    except FileNotFoundError:
        tracker.note(path, None, f"directory {owner}:{group} {mode:04o}\n")
        if not check_mode:
            files.make_directory(path, owner, group, mode)
        return True
    try:
        status = os.fstat(descriptor)
        if (status.st_uid, status.st_gid) != (owner, group):
            raise ForeignOwnerError(
                f"{path} belongs to {status.st_uid}:{status.st_gid}, not to {owner}:{group}, and is left alone. "
                f"If its content should change hands, run: chown -R --no-dereference {owner}:{group} {path}"
            )
        before = stat.S_IMODE(status.st_mode)
        if owner != 0 or not tracker.note(path, f"mode {before:04o}\n", f"mode {mode:04o}\n"):
            return False
        if not check_mode:
            os.fchmod(descriptor, mode)
        return True
    finally:
        os.close(descriptor)


def ensure_file(wanted: dict[str, Any], content: str, tracker: Tracker, check_mode: bool) -> bool:
    """Write one file; return whether something changed."""
    path = wanted["path"]
    secret = wanted["content"] is None
    after = File(content.encode(), int(wanted["mode"], 8), wanted["owner"], wanted["group"])
    before = files.read(path)
    new = before is None or before.content != after.content
    if not tracker.note(path, before, after, show=(_shown(before, secret), _shown(after, secret, new))):
        return False
    if not check_mode:
        files.write(path, after)
    return True


def _shown(file: File | None, secret: bool, new: bool = False) -> str:
    if file is None:
        return ""
    head = f"# {file.uid}:{file.gid} {file.mode:04o}\n"
    if secret:
        return f"{head}(secret{', new' if new else ''})\n"
    return head + file.content.decode(errors="replace")


def main() -> None:
    owner: dict[str, Any] = {"owner": {"type": "int", "default": 0}, "group": {"type": "int", "default": 0}}
    path: dict[str, Any] = {"path": {"type": "str", "required": True}}
    module = AnsibleModule(
        argument_spec={
            "directories": {
                "type": "list", "elements": "dict", "default": [],
                "options": {**path, **owner, "mode": {"type": "str", "default": "0755"}},
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
    changed: list[str] = []
    contents = dict(module.params["secret_contents"])
    for wanted in module.params["files"]:
        path_given, content = wanted["path"], wanted["content"]
        if (content is None) == (path_given not in contents):
            module.fail_json(msg=f"{path_given} needs either content or an entry in secret_contents")
        contents.setdefault(path_given, content)
    try:
        for wanted in module.params["directories"]:
            if ensure_directory(wanted, tracker, module.check_mode):
                changed.append(wanted["path"])
        for wanted in module.params["files"]:
            if ensure_file(wanted, contents[wanted["path"]], tracker, module.check_mode):
                changed.append(wanted["path"])
        for path_gone in module.params["absent"]:
            before = files.read(path_gone)
            if tracker.note(path_gone, before and "present\n", None):
                changed.append(path_gone)
                if not module.check_mode:
                    files.remove(path_gone)
    except (files.UnsafePathError, ForeignOwnerError) as error:
        module.fail_json(msg=str(error), changed=tracker.changed, paths=changed)
    except OSError as error:
        module.fail_json(
            msg=f"{error.filename or 'a file'}: {error.strerror}. What was written before it is complete; "
            "remove the cause and run again.",
            changed=tracker.changed,
            paths=changed,
        )
    module.exit_json(**tracker.result(paths=changed))


if __name__ == "__main__":
    main()
