# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs in the account's map of ids, as uid 0 there: inside.py COMMAND ARGUMENT …; standard input is JSON.

People may change their files at any moment, so a path is opened component by component and no link is followed.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import json
import os
import re
import secrets
import sqlite3
import stat
import sys
import time
from collections.abc import Iterator
from typing import Any

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
LOOKED_AT = 500  # files of a directory from which samples are taken
LOOKED_THROUGH = 20_000  # of files, folders and all else, in search of these
SAMPLES = 3
LONGEST_SAMPLE = 2**20
LONGEST_NOTEBOOK = 64 * 2**20
LONGEST_LIST = 8 * 2**20
BUSY_SECONDS = 60
MOST_PROBLEMS = 200
MOST_FOLDERS = 100
LISTED = "roster-listed.json"  # as in carrel_hub/owners.py
LISTED_BEFORE = f".{LISTED}.before"
NOBODY = ""  # the same identity as no other
AT_FDCWD, RENAME_NOREPLACE = -100, 1
MARK = "\ufffd"
NOT_UTF8 = re.compile("[\udc80-\udcff]")  # as os.fsdecode has these bytes
NOTEBOOK = ".ipynb"
LONGEST_PATH = 4096  # PATH_MAX: restic neither reads nor writes what is deeper
MISSING, REFUSED = "/missing", "/refused"  # not the name of a file


def sqlite(source: str, target: str) -> None:
    """Copy a database that others use meanwhile, in a consistent state (sqlite.org/backup.html)."""
    with (
        contextlib.closing(sqlite3.connect(f"file:{source}?mode=rw", uri=True, timeout=BUSY_SECONDS)) as used,
        contextlib.closing(sqlite3.connect(target)) as copy,
    ):
        used.backup(copy)
        check(copy)


def integrity(path: str) -> None:
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        check(database)


def check(database: sqlite3.Connection) -> None:
    said = [row[0] for row in database.execute("PRAGMA integrity_check(5)")]
    if said != ["ok"]:
        raise ValueError("; ".join(map(str, said)))


def samples(leaves: list[str]) -> list[dict[str, Any]]:
    """A few files of each directory, with our own hashes, for drills. Paths are relative to the working directory."""
    return [sample for leaf in leaves for sample in _samples(leaf)]


def _samples(leaf: str) -> Iterator[dict[str, Any]]:
    """One whose person changes it meanwhile has fewer samples, or none."""
    found: list[tuple[bool, str]] = []
    for (path, status, _folder), _unused in zip(walk(leaf), range(LOOKED_THROUGH)):
        if stat.S_ISREG(status.st_mode) and status.st_size <= LONGEST_SAMPLE:
            found.append((not path.endswith(NOTEBOOK), path))
            if len(found) > LOOKED_AT:
                break
    for _other, path in sorted(found)[:SAMPLES]:
        with contextlib.suppress(OSError):
            yield {"path": f"{leaf}/{path}", **_facts_below(leaf, path.split("/"))}


def _facts_below(leaf: str, parts: list[str]) -> dict[str, Any]:
    folder = os.open(leaf, DIRECTORY)
    try:
        for part in parts[:-1]:
            below = os.open(part, DIRECTORY, dir_fd=folder)
            os.close(folder)
            folder = below
        return facts(parts[-1], folder)
    finally:
        os.close(folder)


def facts(path: str, folder: int | None = None) -> dict[str, Any]:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    with open(descriptor, "rb") as file:
        status = os.fstat(file.fileno())
        digest = hashlib.sha256(file.read(LONGEST_SAMPLE + 1)).hexdigest()
    return {
        "sha256": digest, "size": status.st_size, "mtime_ns": status.st_mtime_ns,
        "mode": stat.S_IMODE(status.st_mode), "uid": status.st_uid, "gid": status.st_gid,
    }  # fmt: skip


def compare(tree: str, expected: dict[str, Any]) -> dict[str, Any]:
    """The differences between a restored tree, the snapshot's list, and the manifest's samples.

    If there are too many files, the list has only some of them.
    """
    problems: list[str] = []
    listed = {node["path"].lstrip("/"): node for node in expected["nodes"]}
    only = None
    if len(listed) < expected["number"]:
        only = listed.keys() | {sample["path"] for sample in expected["samples"]}
    present, files = {}, 0
    for path, status in _restored(tree, expected["below"]):
        files += 1
        if only is None or path in only:
            present[path] = status
    absent = [below for below in expected["below"] if as_listed(below) not in listed]
    problems += [f"{below}: it is not in the snapshot, though its list names it" for below in absent]
    for path, node in listed.items():
        there = present.get(path)
        if there is None:
            problems.append(f"{path}: it was not restored")
            continue
        problems += [f"{path}: {what}" for what in different(node, there)]
    if only is not None and files != expected["number"]:
        problems.append(f"{files} files and folders were restored, and the snapshot has {expected['number']}")
    if only is None:
        problems += [f"{path}: it is not in the snapshot" for path in present.keys() - listed.keys()]
    compared = 0
    for sample in expected["samples"]:
        there = present.get(sample["path"])
        now = facts(os.path.join(tree, sample["path"])) if there and stat.S_ISREG(there.st_mode) else None
        if now is None or (now["mtime_ns"], now["size"]) != (sample["mtime_ns"], sample["size"]):
            continue  # it changed between the manifest and the snapshot
        compared += 1
        problems += [
            f"{sample['path']}: its {key} is not that of the manifest" for key in now if now[key] != sample[key]
        ]
    notebooks, broken = parse_notebooks(tree, present)
    return {
        "files": files, "compared": compared, "notebooks": notebooks, "broken": broken[:MOST_PROBLEMS],
        "problems": problems[:MOST_PROBLEMS],
    }  # fmt: skip


def _restored(tree: str, roots: list[str]) -> Iterator[tuple[str, os.stat_result]]:
    """All that was restored, by its path as restic's JSON writes names that are not UTF-8."""
    for below in roots:
        root = os.path.join(tree, below)
        if os.path.lexists(root):
            yield as_listed(below), os.lstat(root)
            for path, status, _folder in walk(root):
                yield as_listed(os.path.join(below, path)), status


def different(node: dict[str, Any], status: os.stat_result) -> Iterator[str]:
    kinds = {"file": stat.S_ISREG, "dir": stat.S_ISDIR, "symlink": stat.S_ISLNK, "fifo": stat.S_ISFIFO}
    kind = kinds.get(node["type"])
    if kind is None:
        return
    if not kind(status.st_mode):
        yield f"it is not a {node['type']}"
        return
    owner = (node.get("uid", 0), node.get("gid", 0))
    if owner != (status.st_uid, status.st_gid):
        yield f"it belongs to {status.st_uid}:{status.st_gid}, not to {owner[0]}:{owner[1]}"
    # restic's JSON has setuid, setgid and sticky as Go's bits; the permissions are the usual ones
    mode = node.get("mode", 0) & 0o777  # restic leaves out zeros
    if node["type"] != "symlink" and mode != status.st_mode & 0o777:
        yield f"its mode is {status.st_mode & 0o777:04o}, not {mode:04o}"
    if node["type"] == "file" and node.get("size", 0) != status.st_size:
        yield f"it has {status.st_size} bytes, not {node.get('size', 0)}"


def as_listed(path: str) -> str:
    """The path as Go writes it in JSON: a mark for each byte that is not UTF-8."""
    return NOT_UTF8.sub(MARK, path)


def walk(tree: str | int) -> Iterator[tuple[str, os.stat_result, int]]:
    """What is below a folder: its path from there, its status, and a descriptor of the folder that it is in.

    Any depth needs two descriptors, as the way up is "..". If somebody has moved a folder meanwhile, the walk ends.
    What cannot be read, is gone, or has too long a path is left out.
    """
    try:
        here = os.open(tree, DIRECTORY) if isinstance(tree, str) else os.open(".", DIRECTORY, dir_fd=tree)
    except OSError:
        return
    parts: list[str] = []
    levels: list[tuple[tuple[int, int], list[str]]] = []  # identities of folders, and what is left to enter
    try:
        while True:
            folders, above = [], "".join(f"{part}/" for part in parts)
            for name in _names(here) if len(above) < LONGEST_PATH else []:
                with contextlib.suppress(OSError):
                    status = os.stat(name, dir_fd=here, follow_symlinks=False)
                    yield above + name, status, here
                    if stat.S_ISDIR(status.st_mode):
                        folders.append(name)
            levels.append((_identity(here), folders))
            parts.append("")
            entered = None
            while entered is None:
                _unused, left = levels[-1]
                if left:
                    parts[-1] = left.pop()
                    with contextlib.suppress(OSError):
                        entered = os.open(parts[-1], DIRECTORY, dir_fd=here)
                    continue
                levels.pop()
                parts.pop()
                if not levels:
                    return
                outer = os.open("..", DIRECTORY, dir_fd=here)
                os.close(here)
                here = outer
                if _identity(here) != levels[-1][0]:
                    return
            os.close(here)
            here = entered
    except OSError:
        return
    finally:
        os.close(here)


def _names(folder: int) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _identity(folder: int) -> tuple[int, int]:
    status = os.fstat(folder)
    return status.st_dev, status.st_ino


def parse_notebooks(tree: str, present: dict[str, os.stat_result]) -> tuple[int, list[str]]:
    """How many notebooks there are, and which of them are not JSON with cells."""
    number, broken = 0, []
    for path, status in present.items():
        if not path.endswith(NOTEBOOK) or not stat.S_ISREG(status.st_mode) or status.st_size > LONGEST_NOTEBOOK:
            continue
        number += 1
        try:
            with open(os.open(os.path.join(tree, path), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
                if "cells" not in json.load(file):
                    raise ValueError("it has no cells")
        except (OSError, ValueError, TypeError, RecursionError):
            broken.append(path)
    return number, broken


def put(staged: str, leaf: str, path: str, overwrite: bool) -> str:
    """Put a staged file or folder in place in somebody's directory; return the new name of the old one."""
    if not os.path.lexists(staged):
        return MISSING
    *folders, name = path.split("/")
    descriptor = os.open(leaf, DIRECTORY)
    try:
        for folder in folders:
            below = enter(descriptor, folder)
            os.close(descriptor)
            descriptor = below
        kept = ""
        if exists(name, descriptor):
            if not overwrite:
                return REFUSED
            kept = f"{name}.before-restore-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
            os.rename(name, kept, src_dir_fd=descriptor, dst_dir_fd=descriptor)
        try:
            os.rename(staged, name, dst_dir_fd=descriptor)
        except OSError:
            if kept:
                os.rename(kept, name, src_dir_fd=descriptor, dst_dir_fd=descriptor)
            raise
        return kept
    finally:
        os.close(descriptor)


def bring(tree: str, restored: str, leaf: str, label: str, whole: bool) -> str:
    """Put what was RESTORED in TREE into a new folder in somebody's directory; return the folder's name.

    A WHOLE directory becomes that folder itself. Existing files are not touched, and links are not followed.
    """
    staged = os.path.join(tree, restored)
    if not os.path.lexists(staged):
        return MISSING
    home = os.open(leaf, DIRECTORY)
    try:
        if not whole:
            owner = os.fstat(home)
            folder = os.path.join(tree, "folder")
            os.mkdir(folder)
            os.rename(staged, os.path.join(folder, os.path.basename(restored)))
            os.chown(folder, owner.st_uid, owner.st_gid)
            os.chmod(folder, stat.S_IMODE(owner.st_mode) & 0o777)
            staged = folder
        for number in range(1, MOST_FOLDERS + 1):
            free = label if number == 1 else f"{label}-{number}"
            with contextlib.suppress(FileExistsError):
                rename_beside(staged, home, free)
                return free
    finally:
        os.close(home)
    raise FileExistsError(errno.EEXIST, f"{label} is there {MOST_FOLDERS} times")


def rename_beside(path: str, folder: int, name: str) -> None:
    """renameat2(2): unlike rename(2), it replaces nothing, not even an empty folder."""
    library = ctypes.CDLL(None, use_errno=True)
    if library.renameat2(AT_FDCWD, os.fsencode(path), folder, os.fsencode(name), RENAME_NOREPLACE):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), name)


def enter(above: int, name: str) -> int:
    """Open a folder; a missing one is made with the owner of the one above."""
    if not exists(name, above):
        like = os.fstat(above)
        os.mkdir(name, 0o700, dir_fd=above)
        os.chown(name, like.st_uid, like.st_gid, dir_fd=above, follow_symlinks=False)
    try:
        return os.open(name, DIRECTORY, dir_fd=above)
    except NotADirectoryError as error:
        raise NotADirectoryError(error.errno, "a link or a file is in the way; nothing was restored", name) from error


def write(folder: str, contents: dict[str, str]) -> None:
    """Make a folder with files that all ids of the map may read."""
    os.mkdir(folder)
    for name, text in contents.items():
        path = os.path.join(folder, name)
        with open(path, "x", encoding="utf-8") as file:
            file.write(text)
        os.chmod(path, 0o644)
    os.chmod(folder, 0o755)  # noqa: S103 - nothing in it is worth hiding from the ids of the map


def disown(folder: str, names: list[str]) -> None:
    """Note in the hub's own FOLDER that these users of its database are somebody else, so that it deletes them.

    Older hubs did not note whose a name is, and of these a hub believes that they are who is listed now.
    """
    path = os.path.join(folder, LISTED)
    before, identities = listed(path)
    with contextlib.suppress(FileNotFoundError):
        os.replace(path, os.path.join(folder, LISTED_BEFORE))
    with open(path, "x", encoding="utf-8") as file:
        # With guests, a hub deletes only those not listed any more who were listed before.
        json.dump({"names": [*before, *names], "identities": {**identities, **dict.fromkeys(names, NOBODY)}}, file)


def own(folder: str) -> None:
    """Undo `disown`."""
    path = os.path.join(folder, LISTED)
    try:
        os.replace(os.path.join(folder, LISTED_BEFORE), path)
    except FileNotFoundError:
        os.unlink(path)


def listed(path: str) -> tuple[list[Any], dict[str, Any]]:
    """The names and identities in a file of the hub's own. What is damaged says nothing."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            content = json.loads(file.read(LONGEST_LIST))
        return [*content["names"]], {**content.get("identities", {})}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return [], {}


def empty(folder: str) -> None:
    """Empty a folder, which is in a directory of root's.

    Folders are first moved up into it, as in _host/directories.py: their depth does not matter.
    """
    top = os.open(folder, DIRECTORY)
    try:
        left = os.listdir(top)
        while left:
            name = left.pop()
            if not stat.S_ISDIR(os.stat(name, dir_fd=top, follow_symlinks=False).st_mode):
                os.unlink(name, dir_fd=top)
                continue
            inner = os.open(name, DIRECTORY, dir_fd=top)
            try:
                with os.scandir(inner) as entries:
                    for entry in entries:
                        if entry.is_dir(follow_symlinks=False):
                            left.append(secrets.token_hex(16))
                            os.rename(entry.name, left[-1], src_dir_fd=inner, dst_dir_fd=top)
                        else:
                            os.unlink(entry.name, dir_fd=inner)
            finally:
                os.close(inner)
            os.rmdir(name, dir_fd=top)
    finally:
        os.close(top)


def remove(tree: str, paths: list[str]) -> set[tuple[int, int]]:
    """Remove files at these paths, as restic lists them: with a mark in place of what is not UTF-8.

    Return the device and inode of those that have other hard links.
    """
    linked: set[tuple[int, int]] = set()
    for path in paths:
        _remove(os.open(tree, DIRECTORY), path.split("/"), linked)
    return linked


def leave_out(tree: str, paths: list[str]) -> list[str]:
    """Remove files and their other hard links; return the paths of these."""
    linked, found = remove(tree, paths), list[str]()
    for path, status, folder in walk(tree) if linked else ():
        if (status.st_dev, status.st_ino) in linked and stat.S_ISREG(status.st_mode):
            os.unlink(os.path.basename(path), dir_fd=folder)
            found.append(as_listed(path))
    return found


def _remove(above: int, parts: list[str], linked: set[tuple[int, int]]) -> None:
    try:
        name, *below = parts
        alike = [each for each in os.listdir(above) if as_listed(each) == name] if MARK in name else [name]
        for each in alike:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
                if below:
                    _remove(os.open(each, DIRECTORY, dir_fd=above), below, linked)
                    continue
                status = os.stat(each, dir_fd=above, follow_symlinks=False)
                os.unlink(each, dir_fd=above)
                if status.st_nlink > 1:
                    linked.add((status.st_dev, status.st_ino))
    finally:
        os.close(above)


def exists(name: str, directory: int) -> bool:
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def main(command: str, *arguments: str) -> int:
    os.umask(0o077)
    answer: Any = None
    try:
        if command == "sqlite":
            sqlite(*arguments)
        elif command == "integrity":
            integrity(*arguments)
        elif command == "samples":
            answer = samples(json.load(sys.stdin))
        elif command == "compare":
            answer = compare(arguments[0], json.load(sys.stdin))
        elif command == "put":
            staged, leaf, path = arguments
            answer = put(staged, leaf, path, json.load(sys.stdin))
        elif command == "bring":
            tree, restored, leaf, label = arguments
            answer = bring(tree, restored, leaf, label, json.load(sys.stdin))
        elif command == "move":
            os.makedirs(os.path.dirname(arguments[1]), exist_ok=True)  # the snapshot may not have it
            os.rename(*arguments)
        elif command == "write":
            write(arguments[0], json.load(sys.stdin))
        elif command == "disown":
            disown(arguments[0], json.load(sys.stdin))
        elif command == "own":
            own(arguments[0])
        elif command == "remove":
            remove(arguments[0], json.load(sys.stdin))
        elif command == "leave_out":
            answer = leave_out(arguments[0], json.load(sys.stdin))
        elif command == "empty":
            empty(arguments[0])
    except (OSError, ValueError, sqlite3.Error) as error:
        print(error, file=sys.stderr)
        return 1
    json.dump(answer, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
