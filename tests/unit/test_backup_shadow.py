# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The image that a manifest records, and the server that a drill starts from it.

A stand-in answers for Docker; real servers are in tests/integration/test_backup_shadow.py.
"""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from carrel_backup import __main__ as program
from carrel_backup import drill, images, inside, manifest, probe, shadow
from carrel_backup.commands import Account, CommandError
from carrel_backup.journal import Journal
from carrel_backup.restic import Restic
from carrel_backup.run import BackupError, Run
from carrel_backup.settings import Settings
from carrel_backup.state import State

ID, OTHER = "sha256:" + "a" * 64, "sha256:" + "b" * 64
DIGEST = "registry.example.org/lab@sha256:" + "c" * 64
SERVER: dict[str, Any] = {
    "image": "registry.example.org/lab:1.0", "id": ID, "digests": [DIGEST], "command": ["start-notebook.py"],
    "python": "/opt/server/bin/python", "target": "/home/jovyan/work", "root": False,
}  # fmt: skip
INFO = {"MemoryLimit": True, "CpuCfsQuota": False, "PidsLimit": True}


class Engine(Run):
    """A stand-in for an engine. IMAGES are those it has, REGISTRY what a pull brings, CONTAINER what inspect says."""

    images: set[str]
    names: list[str]
    registry: dict[str, str]
    container: dict[str, Any]
    left: list[str]
    said: list[tuple[str, ...]]

    def docker(self, *arguments: str, **_more: Any) -> str:
        self.said.append(arguments)
        command, last = arguments[0], arguments[-1]
        if arguments[:2] == ("container", "inspect"):
            return json.dumps([self.container])
        if arguments[:2] == ("image", "inspect"):
            if last not in self.images:
                raise CommandError(f"Error: No such image: {last}")
            if "--format={{json .RepoTags}}" in arguments:
                return json.dumps(self.names)
            own = last == "built"
            return json.dumps(
                [{"Id": ID, "RepoDigests": None if own else [DIGEST], "Config": {"User": "root" if own else "1"}}]
            )
        if command == "pull":
            if last not in self.registry:
                raise CommandError("docker pull: not found")
            self.images.add(self.registry[last])
        if command == "rm":
            self.left.remove(last)
        if arguments[:2] == ("image", "rm"):
            self.images.remove(last)
        if command == "ps":
            label = arguments[-1].rpartition("label=")[2]
            found = self.left if label == "carrel.drill=tao" else ["abc"] if "compose" in label else []
            return "\n".join(json.dumps({"ID": each}) for each in found)
        return json.dumps(INFO) if command == "info" else ""

    def inside(self, *arguments: str, given: Any = None, **_more: Any) -> Any:
        return getattr(inside, arguments[0])(*arguments[1:], *([] if given is None else [given]))


def values(kind: str, folder: Path) -> dict[str, Any]:
    types: dict[str, Any] = {"int": 60, "str": "x", "bool": False, "str | None": None, "list[str]": []}
    found = {field.name: types.get(str(field.type), {}) for field in dataclasses.fields(Settings)}
    paths = {name: str(folder / name) for name in ("state_directory", "run_directory", "socket")}
    return {**found, **paths, "name": "tao", "kind": kind, "directory": str(folder)}


def engine_of(kind: str, folder: Path) -> Engine:
    settings = Settings(**values(kind, folder))
    account = Account("root", os.getuid(), os.getgid(), "/", frozenset(), ())
    run = Engine(
        settings, account, Restic(settings, account), Journal("tao"), State(str(folder / "state.json"), "tao"), -1
    )
    os.makedirs(settings.state_directory, exist_ok=True)
    run.names = []
    run.images, run.registry, run.container, run.left, run.said = {ID}, {}, {}, [], []
    run.state.begin("drill", "all")
    return run


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Engine]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        listener.listen()
        yield engine_of("lab", tmp_path)


def test_a_labs_image_is_that_of_its_container(lab: Engine) -> None:
    config = {
        "Image": SERVER["image"],
        "User": "1000:100",
        "Cmd": SERVER["command"],
        "Labels": {"carrel.python": SERVER["python"]},
    }
    mount = {"Source": f"{lab.settings.directory}/data/notebooks", "Destination": SERVER["target"]}
    lab.container = {"Config": config, "Image": ID, "Mounts": [{"Source": "/x", "Destination": "/y"}, mount]}
    assert images.recorded(lab) == SERVER
    assert images.read(images.recorded(lab)) == images.Server(**SERVER)
    for user, root in (("", True), ("0:100", True), ("root", True), ("1000", False), ("jovyan", False)):
        config["User"] = user
        assert images.recorded(lab)["root"] is root, "the container's user, not the image's"
    lab.container["Mounts"].remove(mount)
    with pytest.raises(ValueError, match="data/notebooks"):
        images.recorded(lab)


def test_a_hubs_image_is_that_of_the_next_server(tmp_path: Path) -> None:
    hub = engine_of("hub", tmp_path)
    hub.images = {"built"}
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub/config.json").write_text(json.dumps({"images": [{"image": "built"}], "home": "/home/jovyan/work"}))
    found = images.recorded(hub)
    assert (found["image"], found["id"], found["digests"]) == ("built", ID, [])
    assert found["root"] is True
    assert found["command"] == ["jupyter-lab"] and found["target"] == "/home/jovyan/work"


@pytest.mark.parametrize(
    "more",
    [
        {"image": "--privileged"},
        {"id": "--volume=/:/host"},
        {"id": ID + "\n"},
        {"digests": ["--all-tags"]},
        {"digests": [1]},
        {"digests": DIGEST},
        {"command": "sh"},
        {"command": [1]},
        {"target": "relative"},
        {"target": "/a\0b"},
        {"python": None},
        {"root": "no"},
    ],
)
def test_a_manifests_server_becomes_no_option(more: dict[str, Any]) -> None:
    text = {"leaves": [], "database": None, "samples": [], "server": {**SERVER, **more}}
    assert manifest.read(json.dumps(text), "lab").server is None
    text["server"] = SERVER
    assert manifest.read(json.dumps(text), "lab").server == images.Server(**SERVER)


@pytest.mark.parametrize("server", [{}, {"server": None}, {"server": []}, {"server": {"image": "x", "new": 1}}])
def test_manifests_of_other_versions_are_read(server: dict[str, Any]) -> None:
    assert manifest.read(json.dumps({"leaves": [], "database": None, "samples": [], **server}), "lab").server is None


def test_an_image_that_is_gone_is_pulled_by_its_digest_and_goes_after_a_drill(lab: Engine) -> None:
    lab.images, lab.registry = set(), {DIGEST: ID}
    assert images.fetch(lab, images.Server(**SERVER)) is True
    assert ("pull", "--quiet", DIGEST) in lab.said
    assert images.fetch(lab, images.Server(**SERVER)) is False


def test_an_image_that_a_killed_drill_pulled_goes_unless_somebody_named_it(lab: Engine) -> None:
    for names, left in (([], set()), (["lab:1.0"], {ID})):
        lab.images, lab.registry, lab.names = set(), {DIGEST: ID}, names
        images.fetch_for_a_look(lab, images.Server(**SERVER))
        assert lab.images == {ID}
        shadow.clear(lab)
        assert lab.images == left and not os.path.exists(images.note(lab))
    lab.images, lab.names = {ID}, []
    images.fetch_for_a_look(lab, images.Server(**SERVER))
    shadow.clear(lab)
    assert lab.images == {ID}, "it was there before"


@pytest.mark.parametrize(
    ("digests", "registry", "said"),
    [([], {}, "built here"), ([DIGEST], {}, "not found"), ([DIGEST], {DIGEST: OTHER}, "is another image")],
)
def test_an_image_that_cannot_be_had_is_a_warning_of_a_drill(
    lab: Engine, digests: list[str], registry: dict[str, str], said: str
) -> None:
    lab.images, lab.registry = set(), registry
    server = images.Server(**{**SERVER, "digests": digests})
    assert shadow.look(lab, server, "/tree", "data/notebooks", (1000, 100)) is None
    (warning,) = lab.state.entry["warnings"]
    assert "no server was started" in warning and said in warning
    assert not [each for each in lab.said if each[0] == "run"]


def test_a_restore_takes_the_image_of_then_only_under_the_name_of_now(
    lab: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = images.Server(**SERVER)
    monkeypatch.setattr(images, "recorded", lambda _run: {"image": SERVER["image"]})
    images.use(lab, images.of_then(lab, server))
    assert lab.said[-1] == ("tag", ID, SERVER["image"])
    lab.said.clear()
    by_digest = dataclasses.replace(server, image=DIGEST)
    images.use(lab, by_digest)
    assert lab.said == [], "a name with a digest in it means that image alone"
    monkeypatch.setattr(images, "recorded", lambda _run: {"image": "registry.example.org/lab:2.0"})
    with pytest.raises(BackupError, match=f"lab:2.0 now: write image: {DIGEST}"):
        images.of_then(lab, server)
    with pytest.raises(BackupError, match="does not name its image"):
        images.of_then(lab, None)


@pytest.mark.parametrize("more", [["--user", "ada"], ["--path", "x"], ["--group", "g"]])
def test_the_image_of_then_is_for_a_whole_instance(more: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert program.arguments(["restore", "tao", "--image"]).image
    for command in (["restore", "tao", "--image", *more], ["run", "tao", "--image"]):
        with pytest.raises(SystemExit):
            program.arguments(command)
        assert "whole instance" in capsys.readouterr().err


# The container


def test_the_server_reaches_nobody_and_has_the_limits_that_the_engine_can_hold(lab: Engine) -> None:
    server = images.Server(**SERVER)
    found = shadow.command(lab, server, "/srv/tao/tree", 'data/users/a,"b/home', (1000, 100))
    assert {"--network=none", "--user=1000:100", "--cap-drop=ALL", "--pull=never", "--memory=1g"} <= set(found)
    assert "--pids-limit=512" in found and "--cpus=1" not in found
    assert not [option for option in found if option.startswith(("-p", "--publish", "--volume", "-v"))]
    assert found[-2:] == [ID, "start-notebook.py"]
    assert "--env=PYTHONNOUSERSITE=1" in found, "packages that somebody installed cannot break it"
    first, second = [option.removeprefix("--mount=") for option in found if option.startswith("--mount=")]
    (row,) = csv.reader([first])
    assert row == ["type=bind", 'source=/srv/tao/tree/instance/data/users/a,"b/home', f"target={SERVER['target']}"]
    assert "readonly" in second
    as_root = dataclasses.replace(server, root=True)
    for chosen, uid, further in ((as_root, 1234, True), (as_root, 0, False), (server, 0, False)):
        found_as_root = shadow.command(lab, chosen, "/tree", "data/notebooks", (uid, 0))
        assert {"--user=0:0", "--cap-drop=NET_RAW"} <= set(found_as_root) and "--cap-drop=ALL" not in found_as_root
        assert (f"--env=NB_UID={uid}" in found_as_root) is further
    secret = shadow.settings(server)["ServerApp"]["token"]
    assert secret not in " ".join(found) and secret != shadow.settings(server)["ServerApp"]["token"]


NODES = [
    {"path": "/instance/data/users/ada/home", "type": "dir", "uid": 1000, "gid": 100},
    {"path": "/instance/data/users/ada/aaa", "type": "dir", "uid": 1000, "gid": 100},
    {"path": "/instance/data/groups/g", "type": "dir", "uid": 1000},
    {"path": "/instance/data/hub", "type": "dir"},
    {"path": "/instance/data/file", "type": "file"},
]


@pytest.mark.parametrize(
    ("leaves", "found"),
    [
        (["data/users/ada/aaa", "data/users/ada/home"], ("data/users/ada/home", (1000, 100))),
        (["data/groups/g"], ("data/groups/g", (1000, 0))),
        (["data/hub"], None),
        (["data/file"], None),
        (["data/gone"], None),
    ],
)
def test_the_directory_that_a_server_is_shown(leaves: list[str], found: object) -> None:
    assert shadow.first_of(leaves, NODES) == found


def test_what_a_killed_drill_left_goes_and_nothing_else(lab: Engine, tmp_path: Path) -> None:
    lab.left = ["abc", "def"]
    for name in ("20300101T000000Z-drill", "20300101T000000Z"):
        (tmp_path / "data/.restoring" / name / "tree/instance").mkdir(parents=True)
    shadow.clear(lab)
    assert lab.left == []
    assert os.listdir(tmp_path / "data/.restoring") == ["20300101T000000Z"], "what a restore left is somebody's"
    assert lab.state.entry["warnings"] == []


def test_an_engine_that_does_not_run_or_does_not_answer_fails_no_backup(lab: Engine) -> None:
    lab.docker = no_answer  # type: ignore[method-assign,assignment]  # a stand-in for this test
    shadow.clear(lab)
    assert "no answer" in lab.state.entry["warnings"][0]
    os.unlink(lab.settings.socket)
    lab.state.begin("drill", "all")
    shadow.clear(lab)
    assert lab.state.entry["warnings"] == []
    assert shadow.look(lab, images.Server(**SERVER), "/tree", "data/notebooks", (1000, 100)) is None


def no_answer(*_arguments: str, **_more: Any) -> str:
    raise CommandError("no answer")


@pytest.mark.parametrize(
    "said",
    [
        "",
        "[]",
        "{}",
        "x",
        '{"version": 1, "kernel": 2, "shown": "x", "read": 1}',
        "[" * 9999,
        '{"version": 1, "kernel": 2, "shown": 1e999, "read": 1}',
    ],
)
def test_what_a_container_prints_is_believed_only_in_form(said: str) -> None:
    with pytest.raises(BackupError, match="no answer"):
        shadow.found(said)


def test_a_drill_of_one_user_or_group_alone() -> None:
    found = manifest.Manifest(["data/groups/g", "data/hub", "data/users/ada/home", "data/users/eve/home"], None, [])
    assert drill.candidates(found, user="ada") == [("the user ada", ["data/users/ada/home"])]
    assert drill.candidates(found, group="g") == [("data/groups/g", ["data/groups/g"])]
    assert len(drill.candidates(found)) == 4
    with pytest.raises(BackupError, match="of grace"):
        drill.candidates(found, user="grace")


# What tries the server


def test_what_a_server_does_not_list(tmp_path: Path) -> None:
    for name in ("a.ipynb", ".hidden", "x.pyc", "backup~", "__pycache__", "new\nline"):
        (tmp_path / name).write_text("x")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("a.ipynb")
    os.mkfifo(tmp_path / "fifo")
    open(os.path.join(os.fsencode(tmp_path), b"not-utf-8-\xff"), "w").close()
    names = sorted(name for name in os.listdir(tmp_path) if probe.is_listed(str(tmp_path), name))
    assert names == ["a.ipynb", "folder"]


def test_what_the_server_may_not_enter_or_read_is_not_demanded(tmp_path: Path) -> None:
    """The probe may be root where the server is the owner of the files."""
    for name, mode, uid in (("open", 0o700, 1000), ("shut", 0o600, 1000), ("others", 0o755, 0)):
        (tmp_path / name).mkdir(mode)
        os.chown(tmp_path / name, uid, 100)
    for name, mode, uid in (("mine", 0o600, 1000), ("secret", 0, 1000), ("theirs", 0o644, 0)):
        (tmp_path / name).touch(mode)
        os.chown(tmp_path / name, uid, 100)
    os.chown(tmp_path, 1000, 100)
    names = sorted(os.listdir(tmp_path))
    listed = [name for name in names if probe.is_listed(str(tmp_path), name)]
    assert listed == ["mine", "open", "secret", "theirs"], "files are listed whether they can be read or not"
    assert [name for name in names if probe.is_readable(str(tmp_path), name)] == ["mine"]
