# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What needs an engine: the server that a drill starts, of the test bed's lab image, and a server of PostgreSQL."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import pytest
from carrel_backup import containers, database, images, inside, manifest, receiving, restore, shadow
from carrel_backup.commands import Account
from carrel_backup.journal import Journal
from carrel_backup.restic import Restic
from carrel_backup.run import BackupError, Run
from carrel_backup.settings import Settings
from carrel_backup.state import State
from carrel_backup.transfer import Move
from carrel_backup.wanted import Wanted

from testbed import images as testbed_images
from testbed.run import run as program

UID, GID = 1000, 100
LEAF = "data/users/ada/home"
SOCKET = "/var/run/docker.sock"


class Outer(Run):
    """The outer engine belongs to root, whose map of ids is everybody's."""

    def inside(self, *arguments: str, given: Any = None, **_more: Any) -> Any:
        return getattr(inside, arguments[0])(*arguments[1:], *([] if given is None else [given]))

    def left(self) -> str:
        return self.docker("ps", "--all", "--quiet", f"--filter=label={shadow.LABEL}={self.settings.name}").strip()


@pytest.fixture
def outer(tmp_path: Path) -> Outer:
    types: dict[str, Any] = {"int": 60, "str": "x", "bool": False, "str | None": None, "list[str]": []}
    found = {field.name: types.get(str(field.type), {}) for field in dataclasses.fields(Settings)}
    paths = {name: str(tmp_path / name) for name in ("state_directory", "run_directory")}
    own = {"name": f"drill-{os.getpid()}", "kind": "lab", "directory": str(tmp_path), "socket": SOCKET}
    settings = Settings(**{**found, **paths, **own})
    account = Account("root", 0, 0, "/root", frozenset(), ())
    state = State(str(tmp_path / "state.json"), settings.name)
    state.begin("drill", "all")
    return Outer(settings, account, Restic(settings, account), Journal(settings.name), state, os.open("/", os.O_RDONLY))


@pytest.fixture
def tree(tmp_path: Path) -> str:
    """What restic put there."""
    home = tmp_path / "tree/instance" / LEAF
    home.mkdir(parents=True)
    (home / "thesis.ipynb").write_text('{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}')
    (home / "notes é [1].txt").write_bytes(os.urandom(1000))
    (home / "folder").mkdir()
    (home / "closed").touch(mode=0)
    os.mkfifo(home / "fifo")
    (home / "link").symlink_to("/etc/shadow")
    open(os.path.join(os.fsencode(home), b"not-utf-8-\xff"), "w").close()
    for path in (home, *home.iterdir()):
        os.chown(path, UID, GID, follow_symlinks=False)
    return str(tmp_path / "tree")


def server(*command: str) -> images.Server:
    image = os.environ["CARREL_TEST_LAB_IMAGE"]
    (found,) = json.loads(program("docker", "image", "inspect", image))
    return images.Server(
        image=image, id=found["Id"], digests=[], command=list(command) or None, python="python3",
        target="/home/jovyan/work", root=False,
    )  # fmt: skip


def test_it_answers_lets_in_shows_the_files_runs_a_kernel_and_is_gone(
    outer: Outer, tree: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, Any]] = []
    use = shadow.use

    def look_first(run: Run, chosen: images.Server, identity: str) -> str:
        seen.extend(json.loads(run.docker("container", "inspect", identity)))
        return use(run, chosen, identity)

    monkeypatch.setattr(shadow, "use", look_first)
    found = shadow.look(outer, server(), tree, LEAF, (UID, GID))
    assert found and (found["kernel"], found["shown"], found["read"]) == ("python3", 4, 2)
    host = seen[0]["HostConfig"]
    assert (host["NetworkMode"], host["PortBindings"] or {}, host["CapDrop"]) == ("none", {}, ["ALL"])
    assert host["Memory"] == 2**30 and host["PidsLimit"] == 512
    assert outer.left() == ""


@pytest.mark.parametrize(
    ("command", "owner", "said"),
    [
        (["jupyter-lab", "--IdentityProvider.token="], (UID, GID), "to who is not logged in"),
        (["sh", "-c", "echo broken >&2; exit 1"], (UID, GID), "broken"),
        ([], (UID + 1, GID + 1), "its last lines: .*/home/jovyan/work"),
    ],
)
def test_what_does_not_work_is_said_and_gone(
    outer: Outer, tree: str, command: list[str], owner: tuple[int, int], said: str
) -> None:
    """Anybody is let in; the server ends at once; the files are another's."""
    os.chmod(f"{tree}/instance/{LEAF}", 0o700)
    with pytest.raises(BackupError, match=said):
        shadow.look(outer, server(*command), tree, LEAF, owner)
    assert outer.left() == ""


def test_what_a_killed_drill_left_is_cleared(outer: Outer, tree: str) -> None:
    beside = f"{outer.settings.directory}/data/.restoring/20300101T000000Z{shadow.MARK}"
    os.makedirs(f"{beside}/tree")
    os.rename(f"{tree}/instance", f"{beside}/tree/instance")
    outer.inside("write", f"{beside}/tree/shadow", given={"x": "y"})
    outer.docker(*shadow.command(outer, server("sleep", "600"), f"{beside}/tree", LEAF, (UID, GID)))
    assert outer.left()
    shadow.clear(outer)
    assert outer.left() == "" and not os.path.exists(beside)
    assert outer.state.entry["warnings"] == []


def test_the_database_of_a_held_hub_comes_back_or_nothing_does(
    outer: Outer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = dataclasses.replace(outer, settings=dataclasses.replace(outer.settings, kind="hub"))
    labels = [f"--label=com.docker.compose.{key}" for key in (f"project={hub.settings.name}", "service=database")]
    secret = ["--env=POSTGRES_USER=jupyterhub", "--env=POSTGRES_PASSWORD=x"]
    image = testbed_images.build("postgres", parent=testbed_images.base())
    found = manifest.Manifest(["data/groups/g"], database.POSTGRESQL, [])
    with pytest.raises(BackupError, match="has no server that could load"):
        restore.restore_leaves(hub, {"id": "abc", "time": "2030-01-01T02:30:00Z"}, Wanted(), found, found.leaves)
    identity = hub.docker("run", "--detach", *labels, *secret, image).strip()

    def names(query: str = "SELECT name FROM people") -> str:
        return hub.docker(
            "exec", identity, "psql", "--username=jupyterhub", "--tuples-only", f"--command={query}"
        ).strip()

    def fetch(_run: Run, _snapshot: str, _paths: object, tree: str, **_more: Any) -> None:
        """Stands in for restic, which the other tests of restores have."""
        for path in ("instance/data/groups/g", "stage/database"):
            Path(tree, path).mkdir(parents=True)
        Path(tree, "instance/data/groups/g/then").touch()
        Path(tree, "stage/database", database.POSTGRESQL).write_bytes(fetched)

    monkeypatch.setattr(restore, "fetch", fetch)
    monkeypatch.setattr(restore, "check_room", lambda *_given: None)
    folder = tmp_path / "data/groups/g"
    folder.mkdir(parents=True)
    (folder / "now").touch()
    overwrite = Wanted(overwrite=True, stop=True)
    try:
        database.wait(hub, identity)
        names("CREATE TABLE people AS SELECT 'then' AS name")
        hub.docker(
            "exec", identity, "pg_dump", "--username=jupyterhub", "--format=custom", target=str(tmp_path / "dump")
        )
        names("UPDATE people SET name = 'now'")
        hub.docker("stop", identity)
        good = (tmp_path / "dump").read_bytes()
        fetched = good[: len(good) // 2]
        with pytest.raises(containers.UntouchedError, match="was not loaded, and nothing was restored"):
            restore.restore_leaves(hub, {"id": "abc", "time": "2030-01-01T02:30:00Z"}, overwrite, found, found.leaves)
        assert os.listdir(folder) == ["now"] and os.listdir(tmp_path / "data/.restoring") == []
        fetched = good
        restore.restore_leaves(hub, {"id": "abc", "time": "2030-01-01T02:30:00Z"}, overwrite, found, found.leaves)
        assert os.listdir(folder) == ["then"]
        assert hub.database_container() is None, "it stays stopped"
        hub.docker("start", identity)
        database.wait(hub, identity)
        assert names() == "then"
        # A move stops it first, and starts it again.
        names("UPDATE people SET name = 'now'")
        (folder / "then").rename(folder / "now")
        move = Move(hub, {})
        fetch(hub, "abc", [], move.tree)
        received = {"leaves": found.leaves, "database": database.POSTGRESQL}
        Path(hub.settings.state_directory).mkdir(exist_ok=True)
        Path(hub.settings.state_directory, "received.json").write_text(json.dumps(received))
        Path(hub.settings.state_directory, "move.json").write_text(json.dumps({"from": "lab1"}))
        Path(tmp_path, "instance.json").write_text(json.dumps({"state": "held"}))
        receiving.place(move)
        assert os.listdir(folder) == ["then"] and hub.state.owed == {}
        database.wait(hub, identity)
        assert names() == "then"
    finally:
        hub.docker("rm", "--force", "--volumes", identity)
