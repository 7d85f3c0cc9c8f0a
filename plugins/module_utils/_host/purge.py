# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Delete for good what is left of a removed instance, with its engine and account."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from ansible_collections.carrel.jupyter.plugins.module_utils._changes.tracker import Tracker
from ansible_collections.carrel.jupyter.plugins.module_utils._engine.rootless_docker import UNIT
from ansible_collections.carrel.jupyter.plugins.module_utils._engine.subordinate_ids import FILES, Range, parse
from ansible_collections.carrel.jupyter.plugins.module_utils._host import directories, files, process
from ansible_collections.carrel.jupyter.plugins.module_utils._host.account import Account
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.facts import parse_instance
from ansible_collections.carrel.jupyter.plugins.module_utils._report import printable
from ansible_collections.carrel.jupyter.plugins.module_utils._shared.told import Told
from ansible_collections.carrel.jupyter.plugins.module_utils._site import purge as decide

ENGINES = "/etc/rootless-docker"
STATE = "/var/lib/carrel"
LEFT = ("backup", "move", "page", "reset")  # of a removed instance; older versions of instance_archive left more
LOG_INS = "/run/carrel/docker"
SECONDS = 300  # until all that runs of an account has ended


class PurgeError(Told):
    """The reason why nothing, or nothing more, is deleted."""


def entries(folder: str) -> list[str]:
    try:
        descriptor = files.open_directory(folder)
    except FileNotFoundError:
        return []
    try:
        return os.listdir(descriptor)
    finally:
        os.close(descriptor)


def records() -> dict[str, dict[str, object]]:
    found = {name: files.read(f"{STATE}/{name}/instance.json") for name in entries(STATE)}
    return {name: parse_instance(file.content.decode()) for name, file in found.items() if file}


def account_of(name: str) -> pwd.struct_passwd | None:
    """The account of an engine, which need not be one that the role made."""
    try:
        return pwd.getpwnam(name) if name in entries(ENGINES) else None
    except KeyError:
        return None


def ids(kind: str, own: int, account: pwd.struct_passwd) -> list[Range]:
    """The ids that no other account may get while a file has one of them: uids or gids."""
    file = files.read(FILES[kind])
    lines = parse(file.content.decode(errors="replace")) if file else []
    names = (account.pw_name, str(account.pw_uid))
    return [Range(own, 1), *(line.ids for line in lines if line.owner in names)]


def has_files_of(path: str, account: pwd.struct_passwd) -> bool:
    """Whether a directory, or anything in it, has one of the account's ids."""
    uids, gids = ids("uid", account.pw_uid, account), ids("gid", account.pw_gid, account)

    def theirs(status: os.stat_result) -> bool:
        return decide.within(status.st_uid, uids) or decide.within(status.st_gid, gids)

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
    with contextlib.suppress(files.UnsafePathError):
        compose = files.read(f"{archive}/compose.yaml")
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
    for entry in set(found) - set(decide.archives(name, found)):
        path = f"{folder}/{entry}"
        if stat.S_ISDIR(os.lstat(path).st_mode) and protects(path, account):
            yield entry


def data_root(name: str) -> str | None:
    file = files.read(f"{ENGINES}/{name}/daemon.json")
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
        except (files.UnsafePathError, OSError) as error:
            warnings.append(decide.left_open(path, str(error)))
            continue
        if account and uid == account.pw_uid:
            own.add(found)
        elif uid and not has_account(uid):
            warnings.append(decide.left_open(path, f"it belongs to the uid {uid}, which no account has"))
    return sorted(own), warnings


def has_account(uid: int) -> bool:
    try:
        return bool(pwd.getpwuid(uid))
    except KeyError:
        return False


def noted(state: str) -> list[str]:
    file = files.read(state)
    try:
        return list(map(str, json.loads(file.content).get("repositories", []))) if file else []
    except (ValueError, AttributeError, TypeError):
        return []


def owner(path: str) -> int | None:
    try:
        descriptor = files.open_directory(path)
    except FileNotFoundError:
        return None
    try:
        return os.fstat(descriptor).st_uid
    finally:
        os.close(descriptor)


def close(path: str, account: pwd.struct_passwd) -> list[str]:
    """Make a directory of the account's root's alone; return warnings."""
    try:
        descriptor = files.open_directory(path)
        try:
            if os.fstat(descriptor).st_uid == account.pw_uid:
                os.fchown(descriptor, 0, 0)
                os.fchmod(descriptor, 0o700)
        finally:
            os.close(descriptor)
    except (files.UnsafePathError, OSError) as error:
        return [decide.left_open(path, str(error))]
    return []


def stop(account: pwd.struct_passwd, made: bool) -> None:
    """End what runs of the account, or only the engine of one that is kept."""
    run("loginctl", "disable-linger", account.pw_name)
    if made:
        run("systemctl", "stop", f"user@{account.pw_uid}.service")
    elif Account(account).manager_runs:
        done = Account(account).systemctl("stop", UNIT, timeout=SECONDS)
        if done.code != 0:
            raise PurgeError(f"systemctl --user stop {UNIT} failed: {done.errors.strip()}")


def run(*command: str) -> None:
    done = process.run(command, SECONDS)
    if done.code != 0:
        raise PurgeError(f"{' '.join(command)} failed: {(done.errors or printable.text(done.output)).strip()}")


def purge(name: str, archive: str, tracker: Tracker, check_mode: bool) -> tuple[list[str], list[str]]:
    """Purge; return what was deleted, and warnings about what is kept."""
    account = account_of(name)
    made = account is not None and decide.made_by_role(account.pw_gecos)
    wrong = decide.problems(name, records(), others_archives(archive, name, account) if account else ())
    if name in entries(os.path.dirname(archive)):
        wrong.append(f"{os.path.dirname(archive)}/{name} is not archived yet")
    trees = [f"{archive}/{entry}" for entry in decide.archives(name, there(archive))]
    closed, warnings = repositories([*(f"{tree}/.backup" for tree in trees), f"{STATE}/{name}/backup"], account)
    trees += [f"{STATE}/{name}/{left}" for left in LEFT if left in there(f"{STATE}/{name}")]
    trees += [f"{LOG_INS}/{name}"] if name in there(LOG_INS) else []
    trees += engine_trees(name, account, made)
    # It cannot be moved, and would stop the purge half-way.
    wrong += [f"something is mounted on {point}: unmount it first" for point in decide.mounted(mounts(), trees)]
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
        warnings.append(decide.kept(name, account.pw_dir))
    return trees + ([f"account {name}"] if made else []), warnings
