# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The copy of the hub's database that goes from one engine to another."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path

import pytest
from carrel_hub import __main__, database
from jupyterhub import orm
from nativeauthenticator.orm import UserInfo
from sqlalchemy import create_engine


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's directory, with a copy that waits to be taken over."""
    monkeypatch.setattr(__main__, "STATE", tmp_path)
    old = f"sqlite:///{tmp_path}/old.sqlite"
    session = orm.new_session_factory(old)()
    for name in ("ada", "grace"):
        when = datetime(2026, 5, 4, 3, 2, 1, 7, timezone.utc)
        session.add(orm.User(name=name, admin=name == "ada", last_activity=when))
        session.add(UserInfo(username=name, password=b"$2b$12$" + b"x" * 53))
    session.commit()
    session.close()
    with (tmp_path / "switch.json").open("w") as stream:
        assert database.dump(old, stream) >= 4
    return tmp_path


def users(url: str) -> list[str]:
    session = orm.new_session_factory(url)()
    try:
        return sorted(user.name for user in session.query(orm.User))
    finally:
        session.close()


def test_a_start_that_was_killed_after_the_load_is_completed_by_the_next(state: Path) -> None:
    url = f"sqlite:///{state}/new.sqlite"
    copy = (state / "switch.json").read_text()
    __main__.take_over(url)
    assert not (state / "switch.json").exists()
    (state / "switched.json").rename(state / "switch.json")
    __main__.take_over(url)
    assert not (state / "switch.json").exists() and (state / "switched.json").read_text() == copy
    assert users(url) == ["ada", "grace"]


def test_a_database_with_other_rows_is_left_as_it_is(state: Path) -> None:
    url = f"sqlite:///{state}/new.sqlite"
    __main__.take_over(url)
    (state / "switched.json").rename(state / "switch.json")
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE users SET name = 'eva' WHERE name = 'ada'")
    with pytest.raises(database.Refused, match="is not empty"):
        __main__.take_over(url)
    assert (state / "switch.json").exists() and users(url) == ["eva", "grace"]


@pytest.mark.parametrize("text", ["", "{", "[]", json.dumps({"version": 1, "tables": {}})])
def test_a_damaged_copy_makes_no_database(state: Path, text: str) -> None:
    (state / "switch.json").write_text(text)
    with pytest.raises(database.Refused, match="damaged"):
        __main__.take_over(f"sqlite:///{state}/new.sqlite")
    assert not (state / "new.sqlite").exists()
