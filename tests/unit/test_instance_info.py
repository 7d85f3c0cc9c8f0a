# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What instance_info reads, from a folder that stands for a host's root."""

from __future__ import annotations

import json
import pwd
import socket
from pathlib import Path

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.facts import listening_ports
from ansible_collections.carrel.jupyter.plugins.modules import instance_info
from ansible_collections.carrel.jupyter.plugins.modules.instance_info import Broken, collect, unknown_zones

ACCOUNTS = {"tao": pwd.struct_passwd(("tao", "!", 1001, 1002, "", "/home/tao", "/bin/bash"))}


def write(root: Path, path: str, text: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text, encoding="utf-8")


def test_a_bare_host(tmp_path: Path) -> None:
    facts = collect(tmp_path, {})
    assert facts["cpus"] >= 1
    assert {key: item for key, item in facts.items() if key != "cpus"} == {
        "instances": {},
        "taken_in_part": [],
        "engines": {},
        "accounts": {},
        "listening_ports": [],
        "ephemeral_ports": None,
        "memory_bytes": None,
        "packages": [],
    }


def test_hubs_whose_takeover_is_not_complete(tmp_path: Path) -> None:
    for name, state, entry in (
        ("ada", "taking", {"hub": "ada"}), ("eve", "ending", {"hub": "eve"}), ("geo", "taken", {"hub": "geo"}),
        ("tao", "taking", {"account": "tao"}), ("way", "returning", {"hub": "way"}),
    ):  # fmt: skip
        record = json.dumps({"state": state, "entry": entry})
        write(tmp_path, f"etc/carrel/adopted/{name}/record.json", record)
    (tmp_path / "etc/carrel/adopted/none").mkdir()
    assert collect(tmp_path, {})["taken_in_part"] == ["ada", "eve", "way"]
    write(tmp_path, "etc/carrel/adopted/ada/record.json", "[]")
    with pytest.raises(Broken, match=r"ada/record\.json is broken: it holds no object"):
        collect(tmp_path, {})


def test_a_host_with_an_engine(tmp_path: Path) -> None:
    instance = {"name": "tao", "kind": "lab", "engine": "tao", "port": 8801, "url": "https://tao.example.org/"}
    write(tmp_path, "var/lib/carrel/tao/instance.json", json.dumps(instance))
    write(tmp_path, "var/lib/carrel/archived/manifest.json", "{}")
    write(tmp_path, "var/lib/carrel/lock", "")
    write(tmp_path, "etc/rootless-docker/tao/daemon.json", "{}")
    write(tmp_path, "etc/rootless-docker/half/daemon.json", "{}")
    write(tmp_path, "etc/rootless-docker/.carrel-trash-old/1f/daemon.json", "{}")  # of a purge that was killed
    write(tmp_path, "etc/subuid", "ada:100000:65536\ntao:165536:65536\n")
    write(tmp_path, "etc/subgid", "ada:100000:65536\n1001:231072:65536\n")
    service = "sys/fs/cgroup/user.slice/user-1001.slice/user@1001.service"
    write(tmp_path, f"{service}/cgroup.controllers", "cpu memory pids\n")
    status = "Package: {}\nStatus: install ok {}\nVersion: 1\n\n"
    write(tmp_path, "var/lib/dpkg/status", status.format("cron", "installed") + status.format("gone", "config-files"))
    path = tmp_path / "run/user/1001/docker.sock"
    path.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as engine:
        engine.bind(str(path))
    write(tmp_path, "proc/meminfo", "MemTotal:       16384000 kB\nMemFree: 1 kB\n")
    write(tmp_path, "proc/sys/net/ipv4/ip_local_port_range", "32768\t60999\n")
    facts = collect(tmp_path, ACCOUNTS)
    assert facts["ephemeral_ports"] == [32768, 60999]
    assert facts["instances"] == {"tao": instance}
    assert facts["engines"]["tao"] == {
        "uid": 1001,
        "gid": 1002,
        "home": "/home/tao",
        "socket": "/run/user/1001/docker.sock",
        "subuid": {"start": 165536, "count": 65536},
        "subgid": {"start": 231072, "count": 65536},
        "running": True,
        "controllers": ["cpu", "memory", "pids"],
    }
    half = facts["engines"]["half"]
    assert half.pop("controllers") == [] and half.pop("running") is False and set(half.values()) == {None}
    assert facts["packages"] == ["cron"]
    assert facts["accounts"] == {"tao": 1001}
    assert facts["memory_bytes"] == 16384000 * 1024


@pytest.mark.parametrize("text", ["{", "[]", ""])
def test_a_broken_file_is_named(tmp_path: Path, text: str) -> None:
    write(tmp_path, "var/lib/carrel/tao/instance.json", text)
    with pytest.raises(Broken, match=r"/var/lib/carrel/tao/instance\.json is broken: .*Restore it"):
        collect(tmp_path, {})


def test_a_file_of_root_s_asks_for_its_rights(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A stand-in for the file: root, who runs the tests, may read all."""

    def refused(*_unused: object) -> dict[str, object]:
        raise PermissionError(13, "Permission denied", "/etc/carrel/adopted/geo/record.json")

    monkeypatch.setattr(instance_info, "collect", refused)
    with patch_module_args({}), pytest.raises(SystemExit):
        instance_info.main()
    said = json.loads(capsys.readouterr().out)["msg"]
    assert said.startswith("/etc/carrel/adopted/geo/record.json cannot be read") and "become: true" in said


@pytest.mark.parametrize(("family", "address"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_a_real_listener_is_seen_and_a_mere_connection_is_not(family: socket.AddressFamily, address: str) -> None:
    with socket.socket(family) as listener:
        listener.bind((address, 0))
        port = listener.getsockname()[1]
        file = Path("/proc/net/tcp" if family == socket.AF_INET else "/proc/net/tcp6")
        assert port not in listening_ports(file.read_text(encoding="ascii"))
        listener.listen()
        with socket.create_connection((address, port)) as client:
            ports = listening_ports(file.read_text(encoding="ascii"))
            assert port in ports
            assert client.getsockname()[1] not in ports


def test_zones_that_the_host_lacks(tmp_path: Path) -> None:
    """Debian 13 has Europe/Berlin in tzdata, and US/Eastern in tzdata-legacy."""
    write(tmp_path, "usr/share/zoneinfo/Europe/Berlin", "TZif2")
    write(tmp_path, "etc/zoneinfo/UTC", "TZif2")
    asked = ["Europe/Berlin", "US/Eastern", "UTC", "Europe", "../Europe/Berlin", "Europe/Berlin\n", "/etc/passwd", ""]
    assert unknown_zones(tmp_path, asked) == asked[1:2] + asked[3:]
    assert unknown_zones(tmp_path, []) == []
