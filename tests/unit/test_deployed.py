# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the host knows about the files that the site playbook wrote, and what it finds changed. On real files."""

from __future__ import annotations

import copy
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.carrel.jupyter.plugins.module_utils._host import deployed as _deployed
from ansible_collections.carrel.jupyter.plugins.module_utils._host.deployed import Deployed
from ansible_collections.carrel.jupyter.plugins.module_utils._host.engine_api import EngineAPI
from ansible_collections.carrel.jupyter.plugins.module_utils._host.instance_status import Instance
from ansible_collections.carrel.jupyter.plugins.module_utils._site import (
    compose,
    deployed,
    drift,
    hub,
    lab,
    server_config,
)
from hypothesis import given
from hypothesis import strategies as st
from test_drift import CONTAINER
from test_hub_project import instance as hub_instance
from test_hub_project import project as hub_project
from test_lab import ENGINE, instance, project
from test_status_strangers import docker, engine

OWN = {"owner": os.getuid(), "group": os.getgid()}
SECRETS = '{"proxy_token": "xq7SECRET"}\n'


@given(st.dictionaries(st.from_regex("[A-Za-z_][A-Za-z0-9_]*", fullmatch=True), st.text("a'\"\\$=\n #")))
def test_variables_are_read_as_they_were_written(variables: dict[str, str]) -> None:
    assert deployed.variables(compose.dotenv(variables)) == variables


def lab_files() -> dict[str, Any]:
    decided = project(environment={"TOKEN": "xq7SECRET"})
    return lab.files(instance(smoke=[], smoke_timeout_seconds=0), ENGINE, decided, "one", {"healthcheck.py": "print()"})


def test_files_are_described_last_and_for_root_alone() -> None:
    wanted = lab_files()
    *_others, record, last = wanted["files"]
    assert last == {"path": "/var/lib/carrel/tao/deployed.json", "mode": "0600"}
    text = wanted["secret_contents"][last["path"]]
    described = json.loads(text)["files"]
    assert "SECRET" not in text and record["path"] not in described
    assert sorted(described) == [
        f"/srv/tao/{name}" for name in (".env", "compose.yaml", "server/healthcheck.py", "server/smoke.json")
    ]
    environment = wanted["secret_contents"]["/srv/tao/.env"]
    assert described["/srv/tao/.env"] == {
        "sha256": hashlib.sha256(environment.encode()).hexdigest(), "mode": "0640", "uid": 0, "gid": 1002,
    }  # fmt: skip


class Host:
    """A root directory with a hub or a lab, whose files belong to whoever runs the test."""

    def __init__(self, root: Path, kind: str) -> None:
        self.root, self.kind, self.name = root, kind, "class101" if kind == "hub" else "tao"
        self.directory = root / "srv" / self.name
        for folder in ("hub/templates", "server", "login"):
            (self.directory / folder).mkdir(parents=True)
        (root / f"var/lib/carrel/{self.name}").mkdir(parents=True)
        wanted = self.wanted()
        owned = [{**file, **OWN} for file in wanted["files"][:-2]]
        secret = {path: text for path, text in wanted["secret_contents"].items() if "deployed.json" not in path}
        described = deployed.described(
            self.name, {**wanted, "files": owned, "secret_contents": secret}, {"path": "x", "content": ""}
        )
        for file in (*owned, described["files"][-1]):
            path = root / file["path"].lstrip("/")
            path.write_text({**secret, **described["secret_contents"]}.get(file["path"], file.get("content")))
            path.chmod(int(file.get("mode", "0644"), 8))

    def wanted(self) -> dict[str, Any]:
        if self.kind == "lab":
            config = server_config.build({"ServerApp": {"port": 8888}}, "", "a-generated-token", "one")
            (self.directory / "server/jupyter_server_config.json").write_text(server_config.text(config))
            keys = {"smoke": [], "smoke_timeout_seconds": 0}
            checksum = server_config.checksum(config)
            return lab.files(instance(**keys), ENGINE, project(), checksum, {"healthcheck.py": "print()"})
        (self.directory / "hub/secrets.json").write_text(SECRETS)
        secrets = hashlib.sha256(SECRETS.encode()).hexdigest()
        return hub.files(hub_instance(), ENGINE, hub_project(), secrets, "c = get_config()")

    def changed(self, state: str = "present") -> list[str] | None:
        record = {"name": self.name, "kind": self.kind, "state": state, "directory": f"/srv/{self.name}"}
        found = Deployed(str(self.root), record).changed_files()
        return found if found is None else [os.path.relpath(path, record["directory"]) for path in found]


HUB: list[tuple[str, Callable[[Path], object]]] = [
    ("hub/config.json", lambda path: path.write_text("{}")),
    ("hub/secrets.json", lambda path: path.write_text("{}")),
    ("hub/secrets.json", Path.unlink),
    ("hub/jupyter_config.py", lambda path: path.chmod(0o666)),
    ("hub/templates/login.html", lambda path: path.write_text("a page that nobody declared")),
    ("compose.yaml", lambda path: path.write_text("services: {}")),
]
LAB: list[tuple[str, Callable[[Path], object]]] = [
    ("server/jupyter_server_config.json", lambda path: path.write_text('{"ServerApp": {"token": ""}}')),
    ("server/jupyter_server_config.json", lambda path: path.write_text("[")),
    ("server/healthcheck.py", lambda path: path.rename(path.with_suffix(".old"))),
    ("server/healthcheck.py", lambda path: (path.unlink(), path.symlink_to("/etc/passwd"))),
    ("server/smoke.json", lambda path: (path.unlink(), os.mkfifo(path))),
    (".env", lambda path: path.write_text("TOKEN='other'\n")),
]


@pytest.mark.parametrize(
    ("kind", "name", "change"), [("hub", *each) for each in HUB] + [("lab", *each) for each in LAB]
)
def test_a_changed_file_is_found(tmp_path: Path, kind: str, name: str, change: Callable[[Path], object]) -> None:
    host = Host(tmp_path, kind)
    assert host.changed() == []
    change(host.directory / name)
    assert host.changed() == [name]


def test_a_rotated_token_is_no_change(tmp_path: Path) -> None:
    host = Host(tmp_path, "lab")
    config = server_config.build({"ServerApp": {"port": 8888}}, "", "the-token-after-a-reset", "one")
    (host.directory / "server/jupyter_server_config.json").write_text(server_config.text(config))
    assert host.changed() == []


def test_files_are_not_compared_without_a_description_or_on_hold(tmp_path: Path) -> None:
    host = Host(tmp_path, "lab")
    assert host.changed("held") is None
    (tmp_path / "var/lib/carrel/tao/deployed.json").unlink()
    assert host.changed() is None


def test_a_large_file_is_not_parsed(tmp_path: Path) -> None:
    host = Host(tmp_path, "lab")
    name = "server/jupyter_server_config.json"
    (host.directory / name).write_bytes(b'{"ServerApp": ' + b"[" * _deployed.LONGEST)
    assert host.changed() == [name]


def places(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in an answer."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in inner:
        yield (*above, key)
        yield from places(below, (*above, key))


def test_arbitrary_answers_of_an_engine_are_a_problem_of_their_instance(tmp_path: Path) -> None:
    """Each value of the answer about a container in turn; other instances of the host are counted after it."""
    host = Host(tmp_path, "lab")
    (host.directory / "login/compose.yaml").write_text('{"services": {"lab-1": {}, "lab-2": {}}}')
    record = {"kind": "lab", "state": "present", "directory": "/srv/tao", "name": "tao", "url": "http://127.0.0.1:9/"}
    (tmp_path / "var/lib/carrel/tao/instance.json").write_text(json.dumps({**record, "engine": "nobody-here"}))
    listed = {"Id": "1", "State": "running", "Labels": {drift.PROJECT: "tao", drift.SERVICE: "lab-1"}}
    state = {"Running": True, "Paused": False, "Restarting": False, "StartedAt": "2030-01-01T00:00:00Z"}
    good = {**CONTAINER, "Id": CONTAINER["Image"], "State": state}

    def count(about: Any) -> dict[str, int]:
        instance = Instance(str(tmp_path), "tao", {"drift": True}, datetime.now(timezone.utc))
        with engine(tmp_path / "s", docker(about, [listed])):
            found = instance.drift(EngineAPI(str(tmp_path / "s"), 5), [listed])
        (tmp_path / "s").unlink()
        assert found["files"] == 0 and ("state" in found) != bool(instance.unreadable)
        return found

    # The sample was made from another declaration, and nobody has checked it yet.
    assert count(good) == {"files": 0, "containers": 1, "images": 0, "state": 1}
    for place in places(good):
        for nonsense in (None, [[]], {"a": 1}, "x", float("inf")):
            about = copy.deepcopy(good)
            above = about
            for key in place[:-1]:
                above = above[key]
            above[place[-1]] = nonsense
            count(about)
    assert count([]) == {"files": 0}
