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
from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._host import files
from ansible_collections.carrel.jupyter.plugins.module_utils._host.engine_api import EngineAPI

DATABASE = "jupyterhub.sqlite"
LARGEST = 128 << 20  # bytes of a database
MOST = 5000  # people
STEPS = 10_000_000  # of SQLite's virtual machine
LONGEST = 1 << 12  # bytes of a value


class _Strange(Exception):
    """The database is not one of JupyterHub. The text says why."""


def database(mounts: Iterable[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Return what the database says that is in one of a hub's folders; None if none has one."""
    for mount in mounts:
        path = f"{mount['source']}/{DATABASE}"
        if mount["kind"] != "folder":
            continue
        nothing: dict[str, Any] = {"path": path, "problem": None, "users": [], "accounts": None}
        try:
            file = files.read(path, LARGEST)
            if file is not None:
                return {**nothing, **_copied(path, file.content)}
        except (files.UnsafePathError, _Strange, OSError) as error:
            return {**nothing, "problem": str(error)}
        except sqlite3.Error as error:
            return {**nothing, "problem": f"{path} cannot be read: {error}"}
    return None


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
        beside = {end: files.read(path + end, LARGEST) for end in ("-journal", "-wal")}
        for end, text in {"": content, **{end: file.content for end, file in beside.items() if file}}.items():
            with open(copy + end, "xb") as stream:
                stream.write(text)
        with contextlib.closing(sqlite3.connect(copy)) as connection:
            return _people(connection, path)


def _people(connection: sqlite3.Connection, path: str) -> dict[str, Any]:
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.set_progress_handler(lambda: 1, STEPS)
    if hasattr(connection, "setlimit"):  # since Python 3.11
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LARGEST)
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if "users" not in tables:
        raise _Strange(f"{path} is no database of JupyterHub")
    users = _rows(connection, path, "SELECT name, admin FROM users ORDER BY id")
    people: dict[str, Any] = {"users": [{"name": _text(row[0], path), "admin": bool(row[1])} for row in users]}
    if "users_info" in tables:
        accounts = "SELECT username, password, is_authorized, has_2fa FROM users_info ORDER BY id"
        people["accounts"] = [
            {
                "name": _text(row[0], path), "hash": _text(row[1], path), "authorized": bool(row[2]),
                "second_factor": bool(row[3]),
            }
            for row in _rows(connection, path, accounts)
        ]  # fmt: skip
    return people


def _rows(connection: sqlite3.Connection, path: str, query: str) -> list[Any]:
    rows = connection.execute(query).fetchmany(MOST + 1)
    if len(rows) > MOST:
        raise _Strange(f"{path} has more than {MOST} people: adopt is for fewer")
    return rows


def _text(value: Any, path: str) -> str:
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    if not isinstance(text, str) or len(text) > LONGEST:
        raise _Strange(f"{path} has something other than a name or a password where JupyterHub has these")
    return text
