# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every engine of a converged host: its account, its ids, its unit, and a container that writes a bind mount."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest
from testinfra.host import Host

from testbed.patience import until

IMAGE = "carrel-test-touch"


@dataclass
class Engine:
    host: Host
    name: str

    @property
    def uid(self) -> int:
        uid: int = self.host.user(self.name).uid
        return uid

    @property
    def socket(self) -> str:
        return f"unix:///run/user/{self.uid}/docker.sock"

    def run(self, command: str) -> str:
        """As root on the host, with the engine's docker command."""
        output: str = self.host.check_output(f"DOCKER_HOST={self.socket} {command}")
        return output

    def restarted(self) -> set[str]:
        """The running containers that the engine starts again when it starts."""
        lines = self.run("sh -c 'docker ps --quiet | xargs --no-run-if-empty docker inspect'")
        return {
            found["Name"].removeprefix("/")
            for found in json.loads(lines or "[]")
            if found["HostConfig"]["RestartPolicy"]["Name"] in ("always", "unless-stopped")
        }

    def log(self) -> str:
        output: str = self.host.run(f"journalctl --no-pager --lines 30 _UID={self.uid}").stdout
        return output

    def info(self) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.run("docker info --format '{{json .}}'"))
        return answer

    def systemctl(self, command: str) -> str:
        runtime = f"XDG_RUNTIME_DIR=/run/user/{self.uid}"
        output: str = self.host.check_output(f"runuser -u {self.name} -- env {runtime} systemctl --user {command}")
        return output

    def range(self, kind: str) -> tuple[int, int]:
        lines = [line.split(":") for line in self.host.file(f"/etc/sub{kind}").content_string.split()]
        own = [(int(start), int(count)) for owner, start, count in lines if owner in (self.name, str(self.uid))]
        assert len(own) == 1, f"{self.name} has {len(own)} ranges in /etc/sub{kind}"
        return own[0]


@pytest.fixture
def engines(host: Host) -> list[Engine]:
    lingering = host.file("/var/lib/systemd/linger").listdir()
    found = [Engine(host, name) for name in host.file("/etc/rootless-docker").listdir() if name in lingering]
    assert found, "no engine runs here"
    return found


def test_no_rootful_daemon_came_with_the_packages(host: Host) -> None:
    for unit in ("docker.service", "docker.socket", "containerd.service"):
        assert host.service(unit).is_masked
        assert not host.service(unit).is_running
    assert not host.file("/run/docker.sock").exists


def test_engine_runs_rootless_for_its_account(engines: list[Engine]) -> None:
    for engine in engines:
        info = engine.info()
        assert "name=rootless" in info["SecurityOptions"]
        configured = json.loads(engine.host.file(f"/etc/rootless-docker/{engine.name}/daemon.json").content_string)
        assert info["DockerRootDir"] == configured["data-root"]
        assert engine.host.file(info["DockerRootDir"]).uid == engine.uid
        assert configured["log-opts"]["max-size"]
        assert engine.systemctl("is-active rootless-docker.service").strip() == "active"


def test_drivers_are_pinned(engines: list[Engine]) -> None:
    for engine in engines:
        command = engine.host.check_output(f"pgrep -u {engine.name} -x -a rootlesskit")
        assert "--net=slirp4netns" in command
        assert "--port-driver=builtin" in command


def test_the_account_is_locked_and_uses_its_engine(engines: list[Engine]) -> None:
    for engine in engines:
        user = engine.host.user(engine.name)
        assert user.shell == "/bin/bash"
        assert user.group == engine.name
        assert user.password.startswith("!")
        output = engine.host.check_output(
            f"su - {engine.name} -c 'echo $DOCKER_HOST; docker version >/dev/null && echo ok'"
        )
        assert output.split() == [f"unix:///run/user/{engine.uid}/docker.sock", "ok"]


def test_root_writes_nothing_in_homes(engines: list[Engine]) -> None:
    for engine in engines:
        assert engine.host.check_output(f"find {engine.host.user(engine.name).home} ! -user {engine.name}") == ""


@pytest.mark.parametrize("kind", ["uid", "gid"])
def test_ranges_are_large_enough_and_apart(engines: list[Engine], kind: str) -> None:
    ranges = sorted(engine.range(kind) for engine in engines)
    assert all(count >= 65536 for _unused, count in ranges)
    assert all(first[0] + first[1] <= second[0] for first, second in zip(ranges, ranges[1:]))


def test_a_container_writes_a_bind_mount_as_the_mapped_id(engines: list[Engine]) -> None:
    for engine in engines:
        uid, gid = engine.range("uid")[0] + 999, engine.range("gid")[0] + 99
        directory = f"/srv/carrel-test-{engine.name}"
        # The image is the host's own touch with its libraries: no registry is needed.
        engine.run(
            "sh -c 'tar --create --dereference --absolute-names /usr/bin/touch"
            f' $(ldd /usr/bin/touch | grep --only-matching "/[^ ]*") | docker import - {IMAGE}\''
        )
        try:
            engine.host.check_output(f"install --directory --mode 0700 --owner {uid} --group {gid} {directory}")
            run = f"docker run --rm --network none --mount type=bind,source={directory},target=/data"
            engine.run(f"{run} --user 1000:100 {IMAGE} /usr/bin/touch /data/user")
            engine.run(f"{run} --user 0 {IMAGE} /usr/bin/touch /data/root")
            written, by_root = engine.host.file(f"{directory}/user"), engine.host.file(f"{directory}/root")
            assert (written.uid, written.gid) == (uid, gid)
            assert by_root.uid == engine.uid
        finally:
            engine.host.check_output(f"rm --recursive --force {directory}")
            engine.run(f"docker image rm --force {IMAGE}")


def test_systemd_restarts_a_killed_daemon(engines: list[Engine]) -> None:
    engine = engines[0]
    # A hub's servers are not: the hub starts them when their users come.
    restarted = engine.restarted()
    before = engine.host.check_output(f"pgrep -u {engine.name} -x dockerd")
    engine.host.check_output(f"kill -9 {before}")

    def is_back() -> bool:
        now = engine.host.run(f"pgrep -u {engine.name} -x dockerd").stdout.strip()
        answer = engine.host.run(f"docker --host {engine.socket} ps --format '{{{{.Names}}}}'")
        return now not in ("", before) and answer.rc == 0 and restarted <= set(answer.stdout.split())

    until(is_back, lambda: f"the engine is back with {restarted}:\n{engine.log()}")
