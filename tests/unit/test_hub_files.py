# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that the hub asks for often are read only once they have changed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from carrel_hub import files, owners, people

OLD = 10**18  # the time of a file, in nanoseconds


def replaced(path: Path, text: str, time_ns: int = OLD) -> None:
    """As the role and the hub replace files."""
    new = path.with_suffix(".new")
    new.write_text(text)
    os.utime(new, ns=(time_ns, time_ns))
    new.replace(path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    replaced(path, "one")
    return path


def test_a_file_is_read_again_once_it_has_changed(path: Path) -> None:
    read: list[str] = []

    def content(path: Path) -> str:
        read.append(path.read_text())
        return read[-1]

    cached = files.Cached(content)
    assert (cached(path), cached(path), read) == ("one", "one", ["one"])
    replaced(path, "two")  # with the same size and time
    assert (cached(path), cached(path), read) == ("two", "two", ["one", "two"])
    path.write_text("six")
    os.utime(path, ns=(OLD + 1, OLD + 1))
    assert (cached(path), cached(path)) == ("six", "six")
    os.truncate(path, 1)
    os.utime(path, ns=(OLD + 1, OLD + 1))
    assert (cached(path), cached(path), read) == ("s", "s", ["one", "two", "six", "s"])
    other = path.with_name("other")
    os.link(path, other)
    assert cached(other) == "s" and len(read) == 5, "another file"


def test_a_file_of_this_moment_is_read_each_time(path: Path) -> None:
    """It may be written again before the file system's clock goes on."""
    cached = files.Cached(Path.read_text)
    path.write_text("two")
    status = path.stat()
    assert cached(path) == "two"
    path.write_text("six")
    os.utime(path, ns=(status.st_mtime_ns, status.st_mtime_ns))
    assert cached(path) == "six"


def test_a_file_that_cannot_be_used_stays_an_error(path: Path) -> None:
    cached = files.Cached(files.read_json)
    replaced(path, "{}")
    assert cached(path) == {}
    replaced(path, "{")
    for _each in range(2):
        with pytest.raises(files.Unusable):
            cached(path)
    path.unlink()
    for _each in range(2):
        with pytest.raises(files.Unusable):
            cached(path)


def test_checks_of_users_parse_the_roster_and_the_record_of_names_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "STATE", tmp_path)
    monkeypatch.setattr(people, "DIRECTORY", tmp_path)
    users = {"ada": {"identity": "ada@uni", "admin": False}}
    replaced(tmp_path / "roster.json", json.dumps({"version": 1, "users": users, "blocked": []}))
    replaced(tmp_path / owners.LISTED, json.dumps({"names": ["ada"], "identities": {"ada": "ada@uni"}}))
    replaced(tmp_path / owners.IDENTITIES, json.dumps({"eve": {"identity": "eve@x", "member_at": 5}}))
    roster, listed = people.read_roster(), owners.listed()
    assert people.read_roster() is roster and owners.listed() is listed
    assert not owners.was_another(roster, "ada") and owners.member_at("eve") == 5
    replaced(tmp_path / owners.LISTED, json.dumps({"names": ["ada"], "identities": {"ada": "ann@uni"}}))
    replaced(tmp_path / owners.IDENTITIES, json.dumps({"eve": {"identity": "eve@x", "member_at": 6}}))
    assert owners.was_another(roster, "ada") and owners.member_at("eve") == 6
    replaced(tmp_path / "roster.json", json.dumps({"version": 1, "users": {}, "blocked": []}))
    assert not people.read_roster().lists("ada")
