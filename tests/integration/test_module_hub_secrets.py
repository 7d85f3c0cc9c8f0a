# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""hub_secrets on real files. Runs as root, needs no engine."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from ansible_runner import four_runs, run, tree

FILES = {"hub/secrets.json", "hub/passwords.json", "proxy.env", "metrics-token", "database-password"}
GIVEN = {"client_secret": "a client's $ecret", "passwords": {"ada": "ada's pässword", "grace": "grace's password"}}


@pytest.fixture
def arguments(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "hub").mkdir()
    return {"directory": str(tmp_path), "owner": 1001, "group": 1002, "database": True, **GIVEN}


def secrets(folder: Path) -> dict[str, str | None]:
    found: dict[str, str | None] = json.loads((folder / "hub" / "secrets.json").read_text())
    return found


def shows_none(output: str, folder: Path) -> bool:
    hidden = [*secrets(folder).values(), *json.loads((folder / "hub" / "passwords.json").read_text()).values()]
    return not any(secret in output for secret in hidden if secret)


def test_four_runs_write_once_and_show_nothing(arguments: dict[str, Any], tmp_path: Path) -> None:
    check, *others = four_runs("hub_secrets", arguments)
    written = tree(tmp_path)
    assert written.keys() - {"hub"} == FILES
    assert all(written[name][:3] == (0o600, 1001, 1002) for name in FILES - {"proxy.env"})
    assert written["proxy.env"][:3] == (0o640, 0, 1002)  # root's docker compose reads it
    assert all(shows_none(answer["output"], tmp_path) for answer in (check, *others))
    checksum = hashlib.sha256((tmp_path / "hub" / "secrets.json").read_bytes()).hexdigest()
    assert {answer["checksum"] for answer in others} == {checksum}
    assert f"CONFIGPROXY_AUTH_TOKEN='{secrets(tmp_path)['proxy_token']}'" in (tmp_path / "proxy.env").read_text()


def test_check_mode_writes_nothing(arguments: dict[str, Any], tmp_path: Path) -> None:
    assert run("hub_secrets", arguments, "--check")["changed"]
    assert tree(tmp_path).keys() == {"hub"}


def test_a_change_keeps_what_was_generated_and_the_database_s_password(
    arguments: dict[str, Any], tmp_path: Path
) -> None:
    run("hub_secrets", arguments)
    before = secrets(tmp_path)
    answer = run("hub_secrets", {**arguments, "client_secret": "another", "database": False}, "--diff")
    assert answer["changed"] and "another" not in answer["output"] and shows_none(answer["output"], tmp_path)
    assert secrets(tmp_path) == {**before, "client_secret": "another"}
    passwords = {"ada": "a new one of ada's"}
    answer = run("hub_secrets", {**arguments, "client_secret": "another", "passwords": passwords}, "--diff")
    assert "a new one" not in answer["output"] and "grace's password" not in answer["output"]
    assert json.loads((tmp_path / "hub" / "passwords.json").read_text()) == passwords


def test_a_lost_token_is_generated_again(arguments: dict[str, Any], tmp_path: Path) -> None:
    run("hub_secrets", arguments)
    before = secrets(tmp_path)
    (tmp_path / "hub" / "secrets.json").write_text(json.dumps({**before, "cookie_secret": None}))
    assert run("hub_secrets", arguments)["changed"]
    after = secrets(tmp_path)
    assert after["cookie_secret"] not in (None, before["cookie_secret"])
    assert {**after, "cookie_secret": before["cookie_secret"]} == before


@pytest.mark.parametrize("lost", ["file", "key"])
@pytest.mark.parametrize("database", [True, False])
def test_a_lost_password_of_the_database_comes_from_its_own_file(
    arguments: dict[str, Any], tmp_path: Path, lost: str, database: bool
) -> None:
    run("hub_secrets", arguments)
    before, kept = secrets(tmp_path), tree(tmp_path)["database-password"]
    path = tmp_path / "hub" / "secrets.json"
    if lost == "file":
        path.unlink()
    else:
        path.write_text(json.dumps({name: value for name, value in before.items() if name != "database_password"}))
    check, *others = four_runs("hub_secrets", {**arguments, "database": database})
    assert tree(tmp_path)["database-password"] == kept
    assert secrets(tmp_path)["database_password"] == before["database_password"]
    assert all(shows_none(answer["output"], tmp_path) for answer in (check, *others))


@pytest.mark.parametrize("bad", ["damaged", "link", "linked directory"])
def test_files_that_cannot_be_trusted_are_not_touched(arguments: dict[str, Any], tmp_path: Path, bad: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "secrets.json").write_text("{}")
    path = tmp_path / "hub" / "secrets.json"
    if bad == "damaged":
        path.write_text('{"cookie_secret": ')
    elif bad == "link":
        path.symlink_to(elsewhere / "secrets.json")
    else:
        path.parent.rmdir()
        path.parent.symlink_to(elsewhere)
    before = tree(tmp_path)
    answer = run("hub_secrets", arguments)
    assert answer["failed"] and str(path.parent) in answer["msg"], answer
    assert "The secrets stay as they were." in answer["msg"]
    assert tree(tmp_path) == before
