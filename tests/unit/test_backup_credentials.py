# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The secrets that come back with a whole instance."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from ansible_collections.carrel.jupyter.plugins.module_utils._site import server_config
from carrel_backup import credentials, receiving, targets
from test_backup_shadow import Engine, engine_of

HASHES = {"then": "argon2:then", "now": "argon2:now"}


@pytest.fixture
def lab(tmp_path: Path) -> Engine:
    return engine_of("lab", tmp_path)


@pytest.fixture
def hub(tmp_path: Path) -> Engine:
    return engine_of("hub", tmp_path)


def put(path: Path, text: str, mode: int = 0o400) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return str(path)


def configured(password: str, token: str, generation: str = "", **server: str) -> str:
    return server_config.text(server_config.build({"ServerApp": server}, password, token, generation))


@pytest.mark.parametrize(
    ("leaves", "found"),
    [
        (["server", "token", "data/notebooks"], ["server/cookie_secret", "token", "server/jupyter_server_config.json"]),
        (["server/cookie_secret", "server/labconfig"], ["server/cookie_secret"]),
        (["data/notebooks"], []),
    ],
)
def test_those_of_a_lab(lab: Engine, leaves: Sequence[str], found: list[str]) -> None:
    place = lab.settings.directory
    inside = {f"instance/{name}": f"{place}/{name}" for name in found}
    for token_file, more in ((f"{place}/token", {}), ("/srv/tokens/x", {"stage/files/x": "/srv/tokens/x"})):
        assert credentials.of(dataclasses.replace(lab.settings, token_file=token_file), leaves) == inside | more


def test_those_of_a_hub(hub: Engine) -> None:
    found = credentials.of(hub.settings, ["hub", "data/hub", "token"])
    names = ("hub/secrets.json", "hub/identities.json")
    assert found == {f"instance/{name}": f"{hub.settings.directory}/{name}" for name in names}


def test_a_labs_leaves_have_its_secrets(lab: Engine, tmp_path: Path) -> None:
    """As the role makes them: the directory `server` is a leaf, so that the secret is none."""
    then = tmp_path / "then"
    for name in ("server/cookie_secret", "token"):
        put(then / name, "then")
    leaves = targets.leaves(str(then), os.getuid(), frozenset())
    assert list(credentials.of(lab.settings, leaves))[:2] == ["instance/server/cookie_secret", "instance/token"]
    now = Path(lab.settings.directory) / "server/cookie_secret"
    put(now, "now", 0o600)
    credentials.bring(lab, f"{then}/server/cookie_secret", str(now))
    assert now.read_text() == "then" and now.stat().st_mode & 0o7777 == 0o400
    assert lab.state.entry["warnings"] == []


def test_what_the_snapshot_does_not_have_stays(lab: Engine, tmp_path: Path) -> None:
    now = put(tmp_path / "tokens/tao", "now")
    credentials.bring(lab, str(tmp_path / "missing"), now)
    assert Path(now).read_text() == "now" and lab.state.entry["warnings"] == []


def test_a_hub_keeps_its_other_secrets(hub: Engine, tmp_path: Path) -> None:
    then, now = (json.dumps({"cookie_secret": word, "database_password": word}) for word in ("then", "now"))
    path = put(Path(hub.settings.directory) / "hub/secrets.json", now)
    credentials.bring(hub, put(tmp_path / "then.json", then), path)
    assert json.loads(Path(path).read_text()) == {"cookie_secret": "then", "database_password": "now"}


@pytest.mark.parametrize(("begun", "password"), [(False, HASHES["then"]), (True, HASHES["now"])])
def test_the_site_playbook_finds_that_nobody_changed_the_credentials(
    lab: Engine, tmp_path: Path, begun: bool, password: str
) -> None:
    """So it keeps the cookie secret. Where backups have begun, a password of then does not count again."""
    if begun:
        lab.state.begin_past()
    now = configured(HASHES["now"], "a token of now", "of now", ip="of now")
    path = put(Path(lab.settings.directory) / credentials.SERVER, now)
    then = configured(HASHES["then"], "a token of then", "of then", ip="of then")
    credentials.bring(lab, put(tmp_path / "then.json", then), path)
    assert Path(path).read_text() == configured(password, "a token of then", "of now", ip="of now")


@pytest.mark.parametrize("damaged", ["", "[]", '{"ServerApp": "x"}'])
def test_damaged_ones_are_named(lab: Engine, tmp_path: Path, damaged: str) -> None:
    now = configured("", "a token of now", "of now")
    path = put(Path(lab.settings.directory) / credentials.SERVER, now)
    credentials.bring(lab, put(tmp_path / "then.json", damaged), path)
    assert Path(path).read_text() == now
    (warning,) = lab.state.entry["warnings"]
    assert warning.startswith(f"{path} was not restored, so people have to log in again: ")


def test_a_link_in_the_place_of_a_secret_is_not_followed(lab: Engine, tmp_path: Path) -> None:
    path = put(Path(lab.settings.directory) / "token", "now")
    link = tmp_path / "link"
    link.symlink_to("/etc/hostname")
    credentials.bring(lab, str(link), path)
    assert Path(path).read_text() == "now" and len(lab.state.entry["warnings"]) == 1


def test_a_move_brings_what_signs_cookies_before_and_after_the_lab_is_set_up(lab: Engine, tmp_path: Path) -> None:
    path = tmp_path / "tao" / credentials.SERVER
    then = put(tmp_path / "then.json", configured(HASHES["then"], "a token of then", ip="of then"))
    receiving.put_secret(lab, then, str(path))
    assert path.read_text() == Path(then).read_text()
    put(path, configured(HASHES["now"], "a token of now", ip="of now"), 0o600)
    receiving.put_secret(lab, then, str(path))
    assert path.read_text() == configured(HASHES["then"], "a token of then", ip="of now")
