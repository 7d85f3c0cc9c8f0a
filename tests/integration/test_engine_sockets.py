# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Root's tasks on an engine of an account, with what the account could do: real mounts, compose and engine."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import module_runner
import pytest
import yaml
from ansible_collections.carrel.jupyter.plugins.module_utils._host import engine_mounts
from ansible_runner import PLAYBOOK
from reset_site import compose_plugin

from testbed import images
from testbed.run import ROOT, run

ENGINE = "/var/run/docker.sock"
ACCOUNT = 65534
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")


def mount(path: Path) -> None:
    path.mkdir(exist_ok=True)
    run("mount", "-t", "tmpfs", "-o", f"mode=700,uid={ACCOUNT}", "tmpfs", str(path))


def unmount(path: Path) -> None:
    subprocess.run(["umount", "--lazy", str(path)], capture_output=True, check=False)


@pytest.fixture
def runtime() -> Iterator[Path]:
    """A directory of the account's, as systemd makes it in /run/user, and nothing mounted for it afterwards."""
    with tempfile.TemporaryDirectory() as folder:  # pytest's is too long for a socket's path
        path = Path(folder, "1001")
        mount(path)
        try:
            yield path
        finally:
            unmount(path)
            with contextlib.suppress(FileNotFoundError):
                path.rmdir()
            for place in (f"{folder}/engines", engine_mounts.FOLDER):
                engine_mounts.mounted([str(path / "docker.sock")], place)
            assert folder not in Path("/proc/self/mountinfo").read_text()


def usable(runtime: Path) -> str:
    path = str(runtime / "docker.sock")
    found = engine_mounts.mounted([path], str(runtime.parent / "engines"))
    assert found.problems == []
    return found.paths[path]


@contextlib.contextmanager
def engine(path: Path) -> Iterator[socket.socket]:
    """A listening socket, in the place of a former one."""
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        server.settimeout(0)
        yield server


def answers(path: str, server: socket.socket) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
        with contextlib.suppress(BlockingIOError):
            server.accept()[0].close()
            return True
    return False


def mounts(runtime: Path) -> list[str]:
    """The mounts that the module made, with their ids."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line for line in lines if f" {runtime.parent}/engines/" in line]


def test_nothing_is_sent_to_what_a_link_leads_to(runtime: Path) -> None:
    with engine(runtime.parent / "others.sock") as others, engine(runtime / "docker.sock") as own:
        path = usable(runtime)
        assert answers(path, own)
        (runtime / "docker.sock").unlink()
        (runtime / "docker.sock").symlink_to(runtime.parent / "others.sock")
        for there in (path, usable(runtime)):
            with pytest.raises(OSError, match="symbolic links"):
                answers(there, others)
        with pytest.raises(BlockingIOError):
            others.accept()


def test_one_mount_leads_to_the_new_socket_of_an_engine_that_restarts(runtime: Path) -> None:
    path = usable(runtime)
    for _unused in range(2):
        with engine(runtime / "docker.sock") as own:
            assert answers(path, own)
    before = mounts(runtime)
    assert len(before) == 1 and ",nosymfollow" in before[0]
    assert usable(runtime) == path and mounts(runtime) == before
    assert os.stat(runtime.parent / "engines").st_mode & 0o7777 == 0o700


def test_a_new_directory_of_the_account_is_mounted_anew(runtime: Path) -> None:
    """As after a boot, or once the account's services were stopped and started."""
    usable(runtime)
    (before,) = mounts(runtime)
    unmount(runtime)
    mount(runtime)
    with engine(runtime / "docker.sock") as own:
        assert answers(usable(runtime), own)
    (after,) = mounts(runtime)
    assert after != before


def test_the_mount_goes_with_the_directory(runtime: Path) -> None:
    usable(runtime)
    # as two runs at once could do it without the lock
    run("mount", "--bind", str(runtime), usable(runtime).removesuffix("/docker.sock"))
    assert len(mounts(runtime)) == 2
    unmount(runtime)
    runtime.rmdir()
    with pytest.raises(FileNotFoundError):
        answers(usable(runtime), socket.socket())
    assert mounts(runtime) == []


@pytest.mark.parametrize("attributes", [0x1, 0x200000])  # MOUNT_ATTR_RDONLY and _NOSYMFOLLOW of linux/mount.h
def test_a_mount_with_one_option_is_replaced(runtime: Path, monkeypatch: pytest.MonkeyPatch, attributes: int) -> None:
    with monkeypatch.context() as earlier:
        earlier.setattr(engine_mounts, "_ATTRIBUTES", attributes)
        usable(runtime)
    usable(runtime)
    assert [" ro,nosuid,nodev,noexec," in line and ",nosymfollow" in line for line in mounts(runtime)] == [True]


def test_nothing_of_the_account_can_be_removed_through_the_mount(runtime: Path) -> None:
    """As `rm -rf /run/carrel` would."""
    with engine(runtime / "docker.sock") as own:
        path = usable(runtime)
        with pytest.raises(OSError, match=os.strerror(errno.EROFS)):
            os.unlink(path)
        assert answers(path, own)


def test_the_message_says_what_a_mount_needs(runtime: Path) -> None:
    may_not = ("setpriv", "--bounding-set=-sys_admin")
    answer = module_runner.run("engine_sockets", {"sockets": [str(runtime / "docker.sock")]}, prefix=may_not)
    said = answer["msg"]
    assert said.startswith(f"the engines' directories cannot be mounted in {engine_mounts.FOLDER}: [Errno 1]"), said
    assert said.endswith("This needs root, Linux 5.14 or later, and in a container the capability SYS_ADMIN")


def test_a_link_above_the_socket_is_named_and_others_go_on(runtime: Path) -> None:
    link = runtime.parent / "link"
    link.symlink_to(runtime)
    paths = [str(link / "docker.sock"), str(runtime / "docker.sock")]
    found = engine_mounts.mounted(paths, str(runtime.parent / "engines"))
    (problem,) = found.problems
    assert f"the engine at {paths[0]} cannot be used" in problem and "'link'" in problem
    with engine(runtime / "docker.sock") as own:
        assert answers(found.paths[paths[1]], own)
        with pytest.raises(FileNotFoundError):
            answers(found.paths[paths[0]], own)


def test_what_only_root_can_change_keeps_its_path() -> None:
    assert engine_mounts.mounted(["/var/run/docker.sock"], "/nowhere/engines").paths == {ENGINE: ENGINE}


@pytest.mark.parametrize("directory", ["/run/user/1001", "/a-b/c", "/a/b-c", "/=2d/-", "/x=3d"])
def test_each_directory_has_a_place_of_its_own(directory: str) -> None:
    place = engine_mounts._escaped(directory)
    assert "/" not in place and engine_mounts._original(place) == directory


@dataclass
class Project:
    folder: Path
    name: str

    def play(self, role: str, socket: str, *wanted: dict[str, Any]) -> str:
        """Run tasks with the role's defaults of modules, on an engine; return what Ansible printed."""
        path = ROOT / "roles" / role
        (guarded,) = yaml.safe_load((path / "tasks" / "guarded.yml").read_text())
        host = f"__{role}_docker_host"
        variables = {
            "ansible_connection": "local", "ansible_python_interpreter": sys.executable,
            f"__{role}_instance": {"name": self.name}, f"__{role}_engine": {"socket": socket},
            host: yaml.safe_load((path / "vars" / "main.yml").read_text())[host],
        }  # fmt: skip
        sockets = {"carrel.jupyter.engine_sockets": {"sockets": [socket]}, "register": f"__{role}_sockets"}
        defaults = {
            name: {"docker_host": f"{{{{ {host} }}}}", **given} for name, given in guarded["module_defaults"].items()
        }
        play = {"hosts": "localhost", "gather_facts": False, "vars": variables, "tasks": [sockets, *wanted],
                "module_defaults": defaults}  # fmt: skip
        playbook = self.folder / "play.json"
        playbook.write_text(json.dumps([play]))
        done = subprocess.run(
            [str(PLAYBOOK), "--inventory", "localhost,", str(playbook)], capture_output=True, text=True, check=False,
            env={**os.environ, "ANSIBLE_NOCOLOR": "1", "DOCKER_CONFIG": str(compose_plugin())},
        )  # fmt: skip
        return f"{done.returncode} {' '.join((done.stdout + done.stderr).split())}"

    def compose(self, state: str) -> dict[str, Any]:
        return {"community.docker.docker_compose_v2": {"project_src": str(self.folder / "project"), "state": state}}

    def containers(self) -> list[str]:
        """The ids and compose projects of its containers."""
        label = '{{.ID}} {{.Label "com.docker.compose.project"}}'
        return run(
            "docker", "ps", "--all", "--filter", f"label=carrel.test={self.name}", "--format", label
        ).splitlines()


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    found = Project(tmp_path, f"carrel-test-{secrets.token_hex(3)}")
    service = {
        "image": images.base(), "command": ["sleep", "300"], "network_mode": "none", "stop_grace_period": "0s",
        "env_file": [".env"], "labels": {"carrel.test": found.name},
    }  # fmt: skip
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "compose.yaml").write_text(json.dumps({"name": found.name, "services": {"it": service}}))
    (tmp_path / "project" / ".env").write_text("A='1'\n")
    yield found
    subprocess.run(["docker", "rm", "--force", f"{found.name}-it-1", f"{found.name}-other-it-1"], check=False)


@pytest.mark.parametrize("role", ["lab", "hub"])
def test_compose_uses_no_settings_from_the_container_s_variables(project: Project, role: str) -> None:
    # As a version before this one started it. The new arguments recreate nothing.
    folder = project.folder / "project"
    run(
        "env",
        f"DOCKER_CONFIG={compose_plugin()}",
        "docker",
        "compose",
        f"--project-directory={folder}",
        "up",
        "--detach",
    )
    (before,) = project.containers()
    assert "changed=0" in (said := project.play(role, ENGINE, project.compose("present"))), said
    assert project.containers() == [before] and before.endswith(f" {project.name}")
    (folder / ".env").write_text(f"A='1'\nCOMPOSE_PROJECT_NAME='{project.name}-other'\n")
    assert "changed=1" in (said := project.play(role, ENGINE, project.compose("absent"))), said
    assert project.containers() == []


def test_tasks_of_other_collections_follow_no_link(project: Project, runtime: Path) -> None:
    link = runtime / "docker.sock"
    link.symlink_to(ENGINE)
    info = {"community.docker.docker_host_info": {"docker_host": "{{ __lab_docker_host }}"}}
    for task, told in ((project.compose("present"), "Cannot connect to the Docker daemon"),
                       (info, "Too many levels of symbolic links")):  # fmt: skip
        said = project.play("lab", str(link), task)
        assert said.startswith("2 ") and told in said, said
    assert project.containers() == []
