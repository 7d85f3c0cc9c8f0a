# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read who uses a JupyterHub that others have set up, from a copy of its database, and the engine's volumes.

Both can be written by containers, so what is read has limits, and the database's views and triggers do not run.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._host import files
from ansible_collections.carrel.jupyter.plugins.module_utils._host.engine_api import EngineAPI

DATABASE = "jupyterhub.sqlite"
BESIDE = ("-journal", "-wal")
# How a journal ends that names a super-journal, which SQLite would open and delete, wherever it is. JupyterHub makes
# none: https://www.sqlite.org/fileformat.html#the_rollback_journal, readSuperJournal in SQLite's pager.c
SUPER = bytes.fromhex("d9d505f920a163d7")
LARGEST = 128 << 20  # bytes of a database
MOST = 5000  # people
STEPS = 10_000_000  # of SQLite's virtual machine
LONGEST = 1 << 12  # characters of a value
TOTAL = 1 << 21  # of all values
WIDEST = 1 << 20  # bytes of what SQLite makes


class _Strange(Exception):
    """The database is not one of JupyterHub. The text says why."""


def database(mounts: Iterable[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Return what the database says that is in one of a hub's folders; None if none has one.

    Of several, none is read.
    """
    result: dict[str, Any] = {"others": [], "written": None, "problem": None, "users": [], "accounts": None}
    times = {}
    try:
        for path in dict.fromkeys(f"{mount['source']}/{DATABASE}" for mount in mounts if mount["kind"] == "folder"):
            result["path"] = path
            written = _written(path)
            if written is not None:
                times[path] = written
        if not times:
            return None
        path, *others = times
        result.update(path=path, others=others, written=times[path])
        if not others:
            file = files.read(path, LARGEST)
            if file is None:
                return None
            result.update(_copied(path, file.content))
    except (files.UnsafePathError, _Strange, OSError) as error:
        result["problem"] = str(error)
    except sqlite3.Error as error:
        result["problem"] = f"{path} cannot be read: {error}"
    return result


def _written(path: str) -> float | None:
    """When the file, or what SQLite has beside it, was last written; None if it is not there."""
    try:
        folder = files.open_directory(os.path.dirname(path))
    except FileNotFoundError:
        return None
    times = {}
    try:
        for end in ("", *BESIDE):
            with contextlib.suppress(FileNotFoundError):
                status = os.stat(os.path.basename(path) + end, dir_fd=folder, follow_symlinks=False)
                times[end] = status.st_mtime
    finally:
        os.close(folder)
    # Who owns the file can give it any time, also one that no calendar has.
    return min(max(*times.values(), 0.0), time.time()) if "" in times else None


def volumes(engine: EngineAPI) -> list[dict[str, str]]:
    """Return the engine's own volumes, which are folders. It may answer anything."""
    found = engine.call("GET", "/volumes")["Volumes"] or []
    named = [(one["Name"], one["Mountpoint"]) for one in found if one["Driver"] == "local" and not one["Options"]]
    "".join(text for pair in named for text in pair).encode()  # TypeError and ValueError are the caller's
    return [{"name": name, "source": source} for name, source in named]


def _copied(path: str, content: bytes) -> dict[str, Any]:
    """Read a copy, because the hub writes, and SQLite would follow links beside the database."""
    with tempfile.TemporaryDirectory() as folder:
        copy = os.path.join(folder, DATABASE)
        beside = {end: files.read(path + end, LARGEST) for end in BESIDE}
        if any(file and file.content.endswith(SUPER) for file in beside.values()):
            raise _Strange(f"what is beside {path} names a file that SQLite would delete, which JupyterHub does not do")
        for end, text in {"": content, **{end: file.content for end, file in beside.items() if file}}.items():
            with open(copy + end, "xb") as stream:
                stream.write(text)
        with contextlib.closing(sqlite3.connect(copy)) as connection:
            return _people(connection, path)


def _people(connection: sqlite3.Connection, path: str) -> dict[str, Any]:
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.set_progress_handler(lambda: 1, STEPS)
    if hasattr(connection, "setlimit"):  # since Python 3.11
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, WIDEST)
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if "users" not in tables:
        raise _Strange(f"{path} is no database of JupyterHub")
    users = _rows(connection, path, "users", "SELECT name, admin FROM users", 1)
    people: dict[str, Any] = {"users": [{"name": name, "admin": admin} for name, admin in users]}
    if "users_info" in tables:
        accounts = "SELECT username, password, is_authorized, has_2fa FROM users_info"
        rows = _rows(connection, path, "users_info", accounts, 2)
        people["accounts"] = [
            {"name": name, "hash": password, "authorized": authorized, "second_factor": second}
            for name, password, authorized, second in rows
        ]
    return people


def _rows(connection: sqlite3.Connection, path: str, table: str, query: str, texts: int) -> Iterator[list[Any]]:
    """The first values are TEXTS. A short file can make SQLite make long ones, so each row is looked at by itself.

    That is why no query has ORDER BY, either: SQLite would store all rows first.
    """
    if any(hidden for (hidden,) in connection.execute("SELECT hidden FROM pragma_table_xinfo(?)", (table,))):
        raise _Strange(f"{path} has columns that SQLite computes, which JupyterHub does not make")
    left = TOTAL
    for number, row in enumerate(connection.execute(query)):
        if number == MOST:
            raise _Strange(f"{path} has more than {MOST} people: adopt is for fewer")
        values = [_text(value, path) for value in row[:texts]]
        left -= sum(map(len, values))
        if left < 0:
            raise _Strange(f"{path} has more than {TOTAL} characters in names and passwords: adopt is for fewer people")
        yield [*values, *map(bool, row[texts:])]


def _text(value: Any, path: str) -> str:
    if not isinstance(value, (str, bytes)) or len(value) > LONGEST:
        raise _Strange(f"{path} has something other than a name or a password where JupyterHub has these")
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
