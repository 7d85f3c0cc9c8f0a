# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""An engine's socket is its account's own, whatever the account puts in its place."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.carrel.jupyter.plugins.module_utils._host import engine_socket
from ansible_collections.carrel.jupyter.plugins.module_utils._host.engine_api import EngineAPI, EngineError
from ansible_collections.carrel.jupyter.plugins.modules import instance_info

UID = 1001
PATH = f"run/user/{UID}/docker.sock"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    path = tmp_path / PATH
    path.parent.mkdir(parents=True)
    return path


@pytest.fixture
def others(tmp_path: Path) -> Iterator[socket.socket]:
    """Another engine, which nobody may ask."""
    with listening(tmp_path / "others.sock") as server:
        server.settimeout(0)
        yield server


def listening(path: Path) -> socket.socket:
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen()
    return server


def running(root: Path) -> Any:
    folder = root / "etc/rootless-docker/tao"
    folder.mkdir(parents=True, exist_ok=True)
    account: Any = type("Account", (), {"pw_uid": UID, "pw_gid": UID, "pw_dir": "/home/tao"})
    return instance_info.read_engines(root, {"tao": account})["tao"]["running"]


def refused(tmp_path: Path, place: Path, others: socket.socket) -> None:
    """Nobody connects to the other engine, and nothing says that this one runs."""
    assert running(tmp_path) is False
    with pytest.raises(EngineError, match="is no socket of its directory's owner, so nothing was asked there"):
        EngineAPI(str(place)).call("GET", "/info")
    with pytest.raises(engine_socket.ForeignSocketError, match="restart the engine, which makes its socket anew"):
        engine_socket.docker(str(place))
    with pytest.raises(BlockingIOError):
        others.accept()


def test_a_link_to_another_engine_is_not_followed(tmp_path: Path, place: Path, others: socket.socket) -> None:
    place.symlink_to(tmp_path / "others.sock")
    refused(tmp_path, place, others)


def test_a_file_is_no_socket(tmp_path: Path, place: Path, others: socket.socket) -> None:
    place.touch()
    refused(tmp_path, place, others)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_another_account_s_socket_is_refused(tmp_path: Path, place: Path, others: socket.socket) -> None:
    (tmp_path / "others.sock").rename(place)
    os.chown(place.parent, UID, UID)
    refused(tmp_path, place, others)
    os.chown(place, UID, 4)  # dockerd gives it the group docker, if the account has that id
    assert running(tmp_path) is True


def test_a_link_above_it_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    with listening(tmp_path / "real/docker.sock"):
        path = f"{tmp_path}/link/docker.sock"
        assert not engine_socket.is_own(path)
        with pytest.raises(EngineError, match=r"does not answer: .*'link'"):
            EngineAPI(path).call("GET", "/info")
        with pytest.raises(engine_socket.SocketError, match=r"does not answer: .*'link'"):
            engine_socket.docker(path)


def test_a_swap_after_the_check_changes_nothing(tmp_path: Path, place: Path, others: socket.socket) -> None:
    with listening(place) as server:
        (command, option, host) = engine_socket.docker(str(place))
        assert (command, option) == ("docker", "--host") and running(tmp_path) is True
        place.unlink()
        place.symlink_to(tmp_path / "others.sock")
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(host.removeprefix("unix://"))
            server.accept()[0].close()
    with pytest.raises(BlockingIOError):
        others.accept()


def test_an_engine_that_does_not_run_is_named(place: Path) -> None:
    for path in (place, Path("/nowhere/docker.sock")):
        said = rf"the engine at {path} does not answer: .*Is it running\?"
        with pytest.raises(engine_socket.SocketError, match=said):
            engine_socket.docker(str(path))
        with pytest.raises(EngineError, match=said):
            EngineAPI(str(path)).call("GET", "/info")


def test_var_run_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_socket, "ALIAS", "/proc/self/no-such/")
    monkeypatch.setattr(engine_socket, "RUN", "/proc/")
    with pytest.raises(FileNotFoundError, match=r"docker\.sock"):
        engine_socket.opened("/proc/self/no-such/docker.sock")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize(
    ("mode", "above", "owner", "own"),
    [
        (0o755, 0o755, 0, True),
        (0o755, 0o1777, 0, True),
        (0o755, 0o777, 0, False),
        (0o1777, 0o755, 0, False),
        (0o775, 0o755, 0, False),
        (0o700, 0o755, UID, False),
    ],
)
def test_whether_only_root_can_change_a_directory(place: Path, mode: int, above: int, owner: int, own: bool) -> None:
    place.parent.chmod(mode)
    place.parent.parent.chmod(above)
    os.chown(place.parent, owner, 0)
    descriptor, found = engine_socket.opened_directory(str(place.parent))
    os.close(descriptor)
    assert found is own
    os.chown(place.parent.parent, UID, 0)
    descriptor, found = engine_socket.opened_directory(str(place.parent))
    os.close(descriptor)
    assert found is False


DOCKER = """#!{python}
import os, socket, sys
place = {place!r}
os.unlink(place)
os.symlink({others!r}, place)
with socket.socket(socket.AF_UNIX) as client:
    client.connect(sys.argv[2].removeprefix("unix://"))
print(sys.argv[1], *sys.argv[3:])
"""


def test_docker_asks_the_socket_that_was_checked(tmp_path: Path, place: Path, others: socket.socket) -> None:
    docker = tmp_path / "bin" / "docker"
    docker.parent.mkdir()
    docker.write_text(DOCKER.format(python=sys.executable, place=str(place), others=str(tmp_path / "others.sock")))
    docker.chmod(0o755)
    environment = {"PATH": str(docker.parent)}
    with listening(place) as server:
        command = [*engine_socket.docker(str(place)), "compose", "up", ""]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, "--host compose up \n", "")
        server.settimeout(0)
        server.accept()[0].close()
    with pytest.raises(engine_socket.ForeignSocketError):
        engine_socket.docker(str(place))
    others.settimeout(0)
    with pytest.raises(BlockingIOError):
        others.accept()
