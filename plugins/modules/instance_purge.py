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

import contextlib
import json
import os
import pwd
import stat
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrel.jupyter.plugins.module_utils._changes.tracker import Tracker
from ansible_collections.carrel.jupyter.plugins.module_utils._engine.rootless_docker import UNIT
from ansible_collections.carrel.jupyter.plugins.module_utils._engine.subordinate_ids import FILES, Range, parse
from ansible_collections.carrel.jupyter.plugins.module_utils._host import directories
from ansible_collections.carrel.jupyter.plugins.module_utils._host import files as _files
from ansible_collections.carrel.jupyter.plugins.module_utils._host.account import Account
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.facts import parse_instance
from ansible_collections.carrel.jupyter.plugins.module_utils._site import purge as _purge

ENGINES = "/etc/rootless-docker"
STATE = "/var/lib/carrel"
LEFT = ("backup", "move", "page", "reset")  # of a removed instance; older versions of instance_archive left more
LOG_INS = "/run/carrel/docker"


class PurgeError(Exception):
    """The reason why nothing, or nothing more, is deleted."""


def entries(folder: str) -> list[str]:
    try:
        descriptor = _files.open_directory(folder)
    except FileNotFoundError:
        return []
    try:
        return os.listdir(descriptor)
    finally:
        os.close(descriptor)


def records() -> dict[str, dict[str, object]]:
    files = {name: _files.read(f"{STATE}/{name}/instance.json") for name in entries(STATE)}
    return {name: parse_instance(file.content.decode()) for name, file in files.items() if file}


def account_of(name: str) -> pwd.struct_passwd | None:
    """The account of an engine, which need not be one that the role made."""
    try:
        return pwd.getpwnam(name) if name in entries(ENGINES) else None
    except KeyError:
        return None


def ids(kind: str, own: int, account: pwd.struct_passwd) -> list[Range]:
    """The ids that no other account may get while a file has one of them: uids or gids."""
    file = _files.read(FILES[kind])
    lines = parse(file.content.decode(errors="replace")) if file else []
    names = (account.pw_name, str(account.pw_uid))
    return [Range(own, 1), *(line.ids for line in lines if line.owner in names)]


def has_files_of(path: str, account: pwd.struct_passwd) -> bool:
    """Whether a directory, or anything in it, has one of the account's ids."""
    uids, gids = ids("uid", account.pw_uid, account), ids("gid", account.pw_gid, account)

    def theirs(status: os.stat_result) -> bool:
        return _purge.within(status.st_uid, uids) or _purge.within(status.st_gid, gids)

    pending = [path]
    if theirs(os.lstat(path)):
        return True
    while pending:
        with os.scandir(pending.pop()) as found:
            for entry in found:
                if theirs(entry.stat(follow_symlinks=False)):
                    return True
                if entry.is_dir(follow_symlinks=False):
                    pending.append(entry.path)
    return False


def protects(archive: str, account: pwd.struct_passwd) -> bool:
    """Whether the archive of another instance needs the account. Its compose.yaml belongs to its engine's group."""
    with contextlib.suppress(_files.UnsafePathError):
        compose = _files.read(f"{archive}/compose.yaml")
        if compose and compose.gid:
            return compose.gid == account.pw_gid
    try:
        return has_files_of(archive, account)
    except OSError as error:
        raise PurgeError(
            f"the archive {archive} may have files of the account {account.pw_name}, but cannot be searched:"
            f" {error.strerror}; move it away"
        ) from error


def others_archives(folder: str, name: str, account: pwd.struct_passwd) -> Iterator[str]:
    """The archives of other instances that need the account; what is no directory, such as a note, is none."""
    found = [entry for entry in entries(folder) if not entry.startswith(directories.TRASH)]
    for entry in set(found) - set(_purge.archives(name, found)):
        path = f"{folder}/{entry}"
        if stat.S_ISDIR(os.lstat(path).st_mode) and protects(path, account):
            yield entry


def data_root(name: str) -> str | None:
    file = _files.read(f"{ENGINES}/{name}/daemon.json")
    root = json.loads(file.content).get("data-root") if file else None
    return real(str(root)) if root else None


def real(path: str) -> str:
    """The path without links above its end: /home may be a link of the administrator's, the end is the account's."""
    parent, name = os.path.split(path.rstrip("/"))
    if not os.path.isabs(parent):
        raise PurgeError(f"{path} is not an absolute path")
    return os.path.join(os.path.realpath(parent), name)


def mounts() -> str:
    return Path("/proc/self/mountinfo").read_text(errors="surrogateescape")


def owned(path: str | None, account: pwd.struct_passwd) -> bool:
    """Whether a directory is the account's, and not a link that leads to one."""
    return path is not None and owner(path) == account.pw_uid


def engine_trees(name: str, account: pwd.struct_passwd | None, made: bool) -> list[str]:
    """The engine's data root, and the account's home if the role made the account."""
    root, home = data_root(name), real(account.pw_dir) if account else None
    inside = root is not None and home is not None and os.path.commonpath([root, home]) == home
    around = root is not None and home is not None and os.path.commonpath([root, home]) == root
    # A data root in a home goes or stays with the home.
    roots = [root] if not inside and (made or not around) else []
    found = [path for path in (home if made else None, *roots) if path]
    return [path for path in found if (account and owned(path, account)) or directories.is_left(path)]


def there(folder: str) -> set[str]:
    """The names in a folder, with those of which a killed purge has left something."""
    return {entry.removeprefix(directories.TRASH) for entry in entries(folder)}


def repositories(folders: Iterable[str], account: pwd.struct_passwd | None) -> tuple[list[str], list[str]]:
    """The account's local repositories, which the states of an instance's backups name; warnings about others."""
    own, warnings = set[str](), list[str]()
    for path in sorted({path for folder in folders for path in noted(f"{folder}/state.json")}):
        found = real(path)
        try:
            uid = owner(found)
        except (_files.UnsafePathError, OSError) as error:
            warnings.append(_purge.left_open(path, str(error)))
            continue
        if account and uid == account.pw_uid:
            own.add(found)
        elif uid and not has_account(uid):
            warnings.append(_purge.left_open(path, f"it belongs to the uid {uid}, which no account has"))
    return sorted(own), warnings


def has_account(uid: int) -> bool:
    try:
        return bool(pwd.getpwuid(uid))
    except KeyError:
        return False


def noted(state: str) -> list[str]:
    file = _files.read(state)
    try:
        return list(map(str, json.loads(file.content).get("repositories", []))) if file else []
    except (ValueError, AttributeError, TypeError):
        return []


def owner(path: str) -> int | None:
    try:
        descriptor = _files.open_directory(path)
    except FileNotFoundError:
        return None
    try:
        return os.fstat(descriptor).st_uid
    finally:
        os.close(descriptor)


def close(path: str, account: pwd.struct_passwd) -> list[str]:
    """Make a directory of the account's root's alone; return warnings."""
    try:
        descriptor = _files.open_directory(path)
        try:
            if os.fstat(descriptor).st_uid == account.pw_uid:
                os.fchown(descriptor, 0, 0)
                os.fchmod(descriptor, 0o700)
        finally:
            os.close(descriptor)
    except (_files.UnsafePathError, OSError) as error:
        return [_purge.left_open(path, str(error))]
    return []


def stop(account: pwd.struct_passwd, made: bool) -> None:
    """End what runs of the account, or only the engine of one that is kept."""
    run("loginctl", "disable-linger", account.pw_name)
    if made:
        run("systemctl", "stop", f"user@{account.pw_uid}.service")
    elif Account(account).manager_runs:
        done = Account(account).systemctl("stop", UNIT, timeout=300)
        if done.code != 0:
            raise PurgeError(f"systemctl --user stop {UNIT} failed: {done.errors.strip()}")


def run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=300, check=False)
    if done.returncode != 0:
        raise PurgeError(f"{' '.join(command)} failed: {(done.stderr or done.stdout).strip()}")


def purge(name: str, archive: str, tracker: Tracker, check_mode: bool) -> tuple[list[str], list[str]]:
    """Purge; return what was deleted, and warnings about what is kept."""
    account = account_of(name)
    made = account is not None and _purge.made_by_role(account.pw_gecos)
    wrong = _purge.problems(name, records(), others_archives(archive, name, account) if account else ())
    if name in entries(os.path.dirname(archive)):
        wrong.append(f"{os.path.dirname(archive)}/{name} is not archived yet")
    trees = [f"{archive}/{entry}" for entry in _purge.archives(name, there(archive))]
    closed, warnings = repositories([*(f"{tree}/.backup" for tree in trees), f"{STATE}/{name}/backup"], account)
    trees += [f"{STATE}/{name}/{left}" for left in LEFT if left in there(f"{STATE}/{name}")]
    trees += [f"{LOG_INS}/{name}"] if name in there(LOG_INS) else []
    trees += engine_trees(name, account, made)
    # It cannot be moved, and would stop the purge half-way.
    wrong += [f"something is mounted on {point}: unmount it first" for point in _purge.mounted(mounts(), trees)]
    if wrong:
        raise PurgeError("; ".join(wrong))
    for path in trees:
        tracker.note(path, "present\n", None)
    if account:
        for path in closed:
            tracker.note(path, f"owner {account.pw_uid}\n", "owner 0, mode 0700\n")
    if account and made:
        tracker.note(f"account {name}", f"{account.pw_uid}:{account.pw_gid}\n", None)
    if account and not check_mode:
        stop(account, made)
        for path in closed:
            warnings += close(path, account)
    if not check_mode:
        for path in sorted(trees, key=directories.is_left, reverse=True):
            directories.remove_tree(path)
        with contextlib.suppress(OSError):
            os.rmdir(f"{STATE}/{name}")
    if made and not check_mode:
        # It also takes the account's lines out of /etc/subuid and /etc/subgid.
        run("userdel", name)
    if name in there(ENGINES):
        tracker.note(f"{ENGINES}/{name}", "present\n", None)
        trees.append(f"{ENGINES}/{name}")
        # The last step, because this folder marks an engine.
        if not check_mode:
            directories.remove_tree(f"{ENGINES}/{name}")
    if account and not made:
        warnings.append(_purge.kept(name, account.pw_dir))
    return trees + ([f"account {name}"] if made else []), warnings


def main() -> None:
    module = AnsibleModule(
        argument_spec={"name": {"type": "str", "required": True}, "base_dir": {"type": "path", "default": "/srv"}},
        supports_check_mode=True,
    )
    name, tracker = module.params["name"], Tracker()
    archive = str(Path(module.params["base_dir"]) / ".archive")
    try:
        deleted, warnings = purge(name, archive, tracker, module.check_mode)
    except (
        PurgeError, _files.UnsafePathError, directories.ForeignOwnerError, OSError, ValueError,
        subprocess.TimeoutExpired,
    ) as error:  # fmt: skip
        module.fail_json(msg=f"{name}: {error}", changed=tracker.changed)
    for text in warnings:
        module.warn(text)
    module.exit_json(**tracker.result(deleted=deleted))


if __name__ == "__main__":
    main()
