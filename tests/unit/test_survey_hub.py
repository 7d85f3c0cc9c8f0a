# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Databases of hubs, real ones and such as strangers make; tests/integration/test_adopt_hub.py has a running hub."""

from __future__ import annotations

import os
import sqlite3
import struct
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.carrel.jupyter.plugins.module_utils._host import survey_hub
from jupyterhub import orm
from nativeauthenticator.orm import UserInfo


def read(folder: Path) -> dict[str, Any] | None:
    mounts = [{"source": "/none", "kind": "other"}, {"source": str(folder / "none"), "kind": "folder"}]
    return survey_hub.database([*mounts, {"source": str(folder), "kind": "folder"}])


def problem(folder: Path) -> str:
    found = read(folder)
    assert found and found["users"] == [] and found["accounts"] is None
    return str(found["problem"])


def made(folder: Path) -> Path:
    """A database as JupyterHub and NativeAuthenticator make it."""
    path = folder / survey_hub.DATABASE
    session = orm.new_session_factory(f"sqlite:///{path}")()
    UserInfo.__table__.create(session.get_bind(), checkfirst=True)
    session.add_all([orm.User(name="prof", admin=True), orm.User(name="ada")])
    session.add(UserInfo(username="ada", password=b"$2b$12$hash", is_authorized=True))
    session.add(UserInfo(username="eve", password=b"x", has_2fa=True))
    session.commit()
    session.close()
    session.get_bind().dispose()
    return path


def changed(path: Path, *statements: str) -> None:
    with sqlite3.connect(path) as connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


def test_who_is_in_a_database(tmp_path: Path) -> None:
    before = made(tmp_path).read_bytes()
    os.utime(tmp_path / "jupyterhub.sqlite", (1_700_000_000, 1_700_000_000))
    assert read(tmp_path) == {
        "path": f"{tmp_path}/jupyterhub.sqlite", "others": [], "written": 1_700_000_000.0, "problem": None,
        "users": [{"name": "prof", "admin": True}, {"name": "ada", "admin": False}],
        "accounts": [
            {"name": "ada", "hash": "$2b$12$hash", "authorized": True, "second_factor": False},
            {"name": "eve", "hash": "x", "authorized": False, "second_factor": True},
        ],
    }  # fmt: skip
    assert [path.name for path in tmp_path.iterdir()] == ["jupyterhub.sqlite"]
    assert (tmp_path / "jupyterhub.sqlite").read_bytes() == before
    changed(tmp_path / "jupyterhub.sqlite", "DROP TABLE users_info")
    found = read(tmp_path)
    assert found and found["accounts"] is None and len(found["users"]) == 2


def test_what_is_not_yet_in_the_file_itself_counts(tmp_path: Path) -> None:
    path = made(tmp_path)
    writer = sqlite3.connect(path)
    writer.execute("PRAGMA journal_mode = WAL")
    writer.execute("INSERT INTO users (name, admin, cookie_id) VALUES ('new', 0, 'x')")
    writer.commit()
    os.utime(path, (1, 1))
    found = read(tmp_path)
    writer.close()
    assert found and time.time() - 600 < found["written"] <= time.time()
    assert found and [user["name"] for user in found["users"]] == ["prof", "ada", "new"]


def test_a_journal_deletes_no_file(tmp_path: Path) -> None:
    """SQLite deletes the super-journal that a journal names at its end, as root, whatever file that is."""
    made(tmp_path)
    victim = tmp_path / "victim"
    victim.write_text("of somebody else")
    name = str(victim).encode()
    journal = name + struct.pack(">II", len(name), sum(name)) + bytes.fromhex("d9d505f920a163d7")
    (tmp_path / f"{survey_hub.DATABASE}-journal").write_bytes(journal)
    found = read(tmp_path)
    assert victim.read_text() == "of somebody else"
    assert found and found["users"] == [] and "names a file that SQLite would delete" in found["problem"]


def test_of_two_databases_none_is_read(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
    made(first)
    mounts = [{"source": str(folder), "kind": "folder"} for folder in (first, first, second)]
    found = survey_hub.database(mounts)
    assert found and found["others"] == [] and len(found["users"]) == 2
    (second / survey_hub.DATABASE).symlink_to(first / survey_hub.DATABASE)
    found = survey_hub.database(mounts)
    assert (
        found and found["path"] == f"{first}/jupyterhub.sqlite" and found["others"] == [f"{second}/jupyterhub.sqlite"]
    )
    assert found["users"] == [] and found["accounts"] is None


def test_a_time_that_no_calendar_has_is_today(tmp_path: Path) -> None:
    path = made(tmp_path)
    for seconds in (2**33, -(2**31)):
        os.utime(path, (seconds, seconds))
        found = read(tmp_path)
        assert found and 0 <= found["written"] <= time.time()


def test_none_and_others_files(tmp_path: Path) -> None:
    assert read(tmp_path) is None
    path = tmp_path / survey_hub.DATABASE
    path.write_text("no database at all, but long enough to be looked at " * 20)
    assert problem(tmp_path) == f"{path} cannot be read: file is not a database"
    path.unlink()
    changed(path, "CREATE TABLE x (y)")
    assert problem(tmp_path) == f"{path} is no database of JupyterHub"
    path.unlink()
    os.mkfifo(path)
    assert "is not a regular file" in problem(tmp_path)
    path.unlink()
    path.symlink_to("/etc/shadow")
    assert "jupyterhub.sqlite" in problem(tmp_path)


@pytest.mark.parametrize(
    ("statements", "words"),
    [
        (["DROP TABLE users", "CREATE VIEW users AS SELECT 1 AS id, 'x' AS name, 0 AS admin"], "is no database of"),
        (["UPDATE users SET name = zeroblob(5000) WHERE id = 1"], "something other than a name or a password"),
        (["UPDATE users SET name = zeroblob(2000000) WHERE id = 1"], "cannot be read: string or blob too big"),
        (["UPDATE users_info SET password = 5"], "something other than a name or a password"),
        (["ALTER TABLE users RENAME COLUMN admin TO boss"], "cannot be read: no such column: admin"),
    ],
)
def test_what_jupyterhub_does_not_write_is_refused(tmp_path: Path, statements: list[str], words: str) -> None:
    changed(made(tmp_path), *statements)
    problem(tmp_path)


def test_sizes_and_work_have_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = made(tmp_path)
    changed(path, *(f"INSERT INTO users (name, admin, cookie_id) VALUES ('{n}', 0, '{n}')" for n in range(20)))
    monkeypatch.setattr(survey_hub, "STEPS", 50)
    assert problem(tmp_path) == f"{path} cannot be read: interrupted"
    monkeypatch.undo()
    monkeypatch.setattr(survey_hub, "MOST", 20)
    assert problem(tmp_path) == f"{path} has more than 20 people: adopt is for fewer"
    monkeypatch.undo()
    monkeypatch.setattr(survey_hub, "TOTAL", 20)
    assert problem(tmp_path) == f"{path} has more than 20 characters in names and passwords: adopt is for fewer people"
    monkeypatch.undo()
    monkeypatch.setattr(survey_hub, "LARGEST", 100)
    assert problem(tmp_path) == f"{path} has more than 100 bytes: move it away"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("AS (hex(zeroblob(2000000)))", "has columns that SQLite computes, which JupyterHub does not make"),
        (f"DEFAULT '{'x' * 900_000}'", "has something other than a name or a password"),
    ],
)
def test_what_sqlite_makes_of_a_small_file_takes_no_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, words: str
) -> None:
    monkeypatch.setattr(survey_hub, "LARGEST", 4 << 20)  # Python reserves so much for each file
    path = made(tmp_path)
    rows = ", ".join(f"({number})" for number in range(40))
    changed(path, "DROP TABLE users", "CREATE TABLE users (admin)", f"INSERT INTO users VALUES {rows}")
    changed(path, f"ALTER TABLE users ADD COLUMN name {name}", "ALTER TABLE users ADD COLUMN id")
    tracemalloc.start()
    try:
        assert words in problem(tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


def test_an_engine_s_own_volumes() -> None:
    class Engine:
        def call(self, method: str, path: str) -> dict[str, Any]:
            local = {"Driver": "local", "Options": None, "Name": "mine", "Mountpoint": "/v/mine/_data"}
            return {"Volumes": [local, {**local, "Driver": "nfs"}, {**local, "Options": {"device": "/etc"}}]}

    engine: Any = Engine()
    assert survey_hub.volumes(engine) == [{"name": "mine", "source": "/v/mine/_data"}]
