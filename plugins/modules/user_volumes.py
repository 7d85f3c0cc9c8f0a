#!/usr/bin/python
# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: user_volumes
short_description: Make, archive and delete the directories of all users of a JupyterHub in one call
version_added: 0.1.0
description:
  - Gives each user a directory below O(path) that holds one directory for each thing that is kept, such as
    C(PATH/ada/home) and C(PATH/ada/settings). They are bind mounted into the user's container.
  - A user's directory has the name that DockerSpawner puts for C({username}), so C(ada@uni.example) has
    C(ada-40uni-2eexample).
  - Only the innermost directories belong to users. O(path) and the users' directories in it are root's, readable for
    O(gid) and open to pass for others, so that no user can put anything where root works.
  - Everything is done through descriptors and no link is followed. Nothing is ever done to a file below the innermost
    directories, except that O(users[].state=absent) deletes them.
  - A directory with a foreign owner is reported and left as it is, and so is a link in a directory's place. All other
    users get theirs; then the module fails.
  - A run that is killed, or stopped by a full disk, is completed by the next one.
extends_documentation_fragment:
  - carrel.jupyter.attributes
  - carrel.jupyter.owner
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  path:
    description:
      - Absolute path of the directory that holds the users' directories. It is made if it is missing.
      - It must be root's, and used for nothing else. C(/srv) and the like are refused.
    type: str
    required: true
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
      state:
        description:
          - V(present) makes what is missing.
          - V(archived) moves all of the user's directories to C(PATH/.archive/NAME-TIME), on the same file system. To
            bring them back, move them back.
          - V(absent) deletes them with all that is in them, and needs O(purge). An archive is never deleted.
          - Stop the user's server first. One that runs keeps what it has mounted, wherever that is moved.
        type: str
        choices: [present, archived, absent]
        default: present
  directories:
    description: What each user gets.
    type: list
    elements: dict
    default: [{name: home}, {name: settings}]
    suboptions:
      name: {description: Name of the directory., type: str, required: true}
      mode:
        description: Octal mode that it is made with. After that it is its owner's to change.
        type: str
        default: "0700"
  prune:
    description:
      - What to do about users who have directories but are not in O(users).
      - V(archive) treats them as O(users[].state=archived).
      - Only directories of root's that have a user's name, and hold nothing or one of O(directories), are taken for a
        user's. Others are warned about.
    type: str
    choices: [keep, archive]
    default: keep
  purge:
    description: Allow O(users[].state=absent), and complete a deletion that was interrupted.
    type: bool
    default: false
  allow_empty:
    description: Accept an empty list of users, which is more often a mistake than meant.
    type: bool
    default: false
author:
  - the carrel.jupyter authors
"""

EXAMPLES = r"""
- name: Give the users of a hub their directories and archive those of the users who left
  carrel.jupyter.user_volumes:
    path: /srv/class101/data/users
    account: class101
    users:
      - name: ada@uni.example
      - name: grace@uni.example
    prune: archive

- name: Delete one user's files for good and touch nobody else's
  carrel.jupyter.user_volumes:
    path: /srv/class101/data/users
    account: class101
    users:
      - {name: ada@uni.example, state: absent}
    purge: true
"""

RETURN = r"""
directories:
  description: The directory of each user who is present.
  returned: always
  type: dict
  sample: {ada@uni.example: /srv/class101/data/users/ada-40uni-2eexample}
archived:
  description: Where the directories of the users are who were archived by this run, or would be in check mode.
  returned: always
  type: dict
  sample: {bob: /srv/class101/data/users/.archive/bob-20261122T230102Z}
deleted:
  description: The users whose directories were deleted by this run, or would be in check mode.
  returned: always
  type: list
  elements: str
  sample: []
not_listed:
  description: Users who have directories but are not in the list. With O(prune=archive) they were archived.
  returned: always
  type: list
  elements: str
  sample: [bob]
owner:
  description: The ids on the host that own the directories.
  returned: always
  type: dict
  sample: {uid: 100999, gid: 100099}
problems:
  description: What was left alone, and why. The module failed if there is any.
  returned: always
  type: list
  elements: str
  sample: []
"""

import contextlib
import errno
import os
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrel.jupyter.plugins.module_utils import _directories as directories
from ansible_collections.carrel.jupyter.plugins.module_utils import _files as files
from ansible_collections.carrel.jupyter.plugins.module_utils import _user_volumes as volumes
from ansible_collections.carrel.jupyter.plugins.module_utils._directories import Wanted
from ansible_collections.carrel.jupyter.plugins.module_utils._escape import unescape
from ansible_collections.carrel.jupyter.plugins.module_utils._host_ids import ARGUMENTS, host_ids
from ansible_collections.carrel.jupyter.plugins.module_utils._tracker import Tracker

ARCHIVE = ".archive"
TRASH = ".trash"


class Volumes:
    """The directories below one path, and what this run does to them."""

    def __init__(self, module: AnsibleModule, uid: int, gid: int) -> None:
        self.parameters = module.params
        self.check_mode: bool = module.check_mode
        self.path: str = self.parameters["path"].rstrip("/")
        self.passage = Wanted(0, gid, 0o751, enforce=True)
        self.leaves = [
            (leaf["name"], Wanted(uid, gid, int(leaf["mode"], 8))) for leaf in self.parameters["directories"]
        ]
        self.base: int | None = None
        self.before: list[str] = []
        self.after: list[str] = []
        self.problems: list[str] = []
        self.archived: dict[str, str] = {}
        self.deleted: list[str] = []
        self.not_listed: list[str] = []
        self.warnings: list[str] = []

    def ensure(self, parent: int | None, name: str, shown: str, wanted: Wanted) -> int | None:
        path = f"{self.path}/{shown}".rstrip("/")
        descriptor, before, after = directories.ensure(parent, name, path, wanted, self.check_mode)
        if before != after:
            self.before += [f"{shown or '.'} {before}"] if before else []
            self.after.append(f"{shown or '.'} {after}")
        return descriptor

    def open_base(self) -> None:
        above, name = os.path.split(self.path)
        parent = None
        with contextlib.suppress(FileNotFoundError):
            parent = files.open_directory(above, create=not self.check_mode)
        try:
            self.base = self.ensure(parent, name, "", self.passage)
        finally:
            if parent is not None:
                os.close(parent)

    def make(self, directory: str) -> None:
        """One user's directories."""
        descriptor = self.ensure(self.base, directory, directory, self.passage)
        try:
            for name, wanted in self.leaves:
                with self.reporting():
                    leaf = self.ensure(descriptor, name, f"{directory}/{name}", wanted)
                    if leaf is not None:
                        os.close(leaf)
        finally:
            if descriptor is not None:
                os.close(descriptor)

    @contextlib.contextmanager
    def reporting(self) -> Any:
        """Go on with the next one after a problem that concerns only this one."""
        try:
            yield
        except (files.UnsafePathError, directories.ForeignOwnerError) as error:
            self.problems.append(str(error))

    def there(self) -> list[str]:
        return [] if self.base is None else sorted(os.listdir(self.base))

    def close_by(self, directory: str) -> int:
        """A descriptor of a user's directory that this module may move."""
        path = f"{self.path}/{directory}"
        descriptor = directories.open_child(self.base, directory, path)
        status = os.fstat(descriptor)
        if status.st_uid != 0:
            os.close(descriptor)
            raise directories.ForeignOwnerError(directories.foreign(path, status.st_uid, status.st_gid, self.passage))
        return descriptor

    def move(self, directory: str, folder: str, name: str) -> None:
        """Rename a user's directory into a folder that only root can enter."""
        target = directories.root_only(self.base, folder, f"{self.path}/{folder}")
        try:
            os.rename(directory, name, src_dir_fd=self.base, dst_dir_fd=target)
        finally:
            os.close(target)

    def archive(self, directory: str, user: str) -> None:
        os.close(self.close_by(directory))
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        name, number = f"{directory}-{stamp}", 1
        while os.path.lexists(f"{self.path}/{ARCHIVE}/{name}"):
            name, number = f"{directory}-{stamp}-{number}", number + 1
        self.before.append(directory)
        self.after.append(f"{ARCHIVE}/{directory}-TIME")
        if not self.check_mode:
            self.move(directory, ARCHIVE, name)
        self.archived[user] = f"{self.path}/{ARCHIVE}/{name}"

    def delete(self, directory: str, user: str) -> None:
        os.close(self.close_by(directory))
        self.before.append(directory)
        if not self.check_mode:
            self.move(directory, TRASH, directory)
            self.empty_trash()
        self.deleted.append(user)

    def empty_trash(self) -> None:
        """Delete what was moved there, by this run or by one that was interrupted."""
        path = f"{self.path}/{TRASH}"
        trash = directories.root_only(self.base, TRASH, path)
        try:
            directories.empty_trash(trash, path)
        finally:
            os.close(trash)
        os.rmdir(TRASH, dir_fd=self.base)

    def is_a_user_s(self, directory: str) -> bool:
        try:
            descriptor = self.close_by(directory)
        except (files.UnsafePathError, directories.ForeignOwnerError):
            return False
        try:
            content = os.listdir(descriptor)
        finally:
            os.close(descriptor)
        return not content or any(name in content for name, _ in self.leaves)

    def prune(self, listed: set[str]) -> None:
        for directory in self.there():
            if directory in listed or directory.startswith("."):
                continue
            user = unescape(directory)
            if user is None or not self.is_a_user_s(directory):
                self.warnings.append(f"{self.path}/{directory} is no user's directory and is left alone")
                continue
            self.not_listed.append(user)
            if self.parameters["prune"] == "archive":
                self.archive(directory, user)

    def run(self) -> None:
        users = self.parameters["users"]
        self.open_base()
        there = set(self.there())
        if TRASH in there and self.parameters["purge"]:
            self.before.append(TRASH)
            if not self.check_mode:
                self.empty_trash()
        for state, act in (("absent", self.delete), ("archived", self.archive)):
            for directory, user in volumes.by_directory(users, state).items():
                if directory in there:
                    with self.reporting():
                        act(directory, user)
        self.prune(set(volumes.by_directory(users, "present", "archived", "absent")))
        for directory in volumes.by_directory(users, "present"):
            with self.reporting():
                self.make(directory)


def main() -> None:
    name: dict[str, Any] = {"name": {"type": "str", "required": True}}
    states = ["present", "archived", "absent"]
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "str", "required": True},
            "users": {
                "type": "list", "elements": "dict", "required": True,
                "options": {**name, "state": {"type": "str", "choices": states, "default": "present"}},
            },
            "directories": {
                "type": "list", "elements": "dict", "default": [{"name": "home"}, {"name": "settings"}],
                "options": {**name, "mode": {"type": "str", "default": "0700"}},
            },
            **ARGUMENTS,
            "prune": {"type": "str", "choices": ["keep", "archive"], "default": "keep"},
            "purge": {"type": "bool", "default": False},
            "allow_empty": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )  # fmt: skip
    given = module.params
    wrong = volumes.problems(given)
    if wrong:
        module.fail_json(msg="\n".join(wrong), problems=wrong)
    try:
        uid, gid = host_ids(given["account"], given["uid"], given["gid"])
    except (ValueError, OSError) as error:
        module.fail_json(msg=str(error))
    work = Volumes(module, uid, gid)
    stopped = None
    try:
        work.run()
    except (files.UnsafePathError, directories.ForeignOwnerError) as error:
        work.problems.append(str(error))
    except OSError as error:
        why = "the disk, or a quota, is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else error.strerror
        stopped = (
            f"{error.filename or work.path}: {why}. What was done before is complete; remove the cause and run again"
        )
    tracker = Tracker()
    before, after = ("".join(f"{line}\n" for line in sorted(lines)) for lines in (work.before, work.after))
    tracker.note(work.path, before, after)
    result = tracker.result(
        directories={
            user: f"{work.path}/{directory}"
            for directory, user in volumes.by_directory(given["users"], "present").items()
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
