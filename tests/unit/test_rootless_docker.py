# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.carrel.jupyter.plugins.module_utils._engine.devices import CDI_OPTIONS
from ansible_collections.carrel.jupyter.plugins.module_utils._engine.egress import RUNTIME_OPTIONS
from ansible_collections.carrel.jupyter.plugins.module_utils._engine.requirements import (
    Host,
    missing,
    packages,
    problems,
    warnings,
)
from ansible_collections.carrel.jupyter.plugins.module_utils._engine.rootless_docker import (
    daemon_json,
    explain,
    merge,
    unit_text,
)
from ansible_collections.carrel.jupyter.plugins.modules import rootless_docker_engines

GOOD = Host(
    os_id="debian",
    os_version="13",
    systemd=True,
    user_namespaces=96365,
    unprivileged_userns_clone=True,
    apparmor_restricts=False,
    rootlesskit_profile=False,
    controllers=frozenset({"cpuset", "cpu", "io", "memory", "pids"}),
    uids={"ada": 1000},
)
UBUNTU = replace(GOOD, os_id="ubuntu", os_version="24.04", apparmor_restricts=True, rootlesskit_profile=True)


@pytest.mark.parametrize(
    ("host", "source"),
    [
        (GOOD, "distro"),
        (GOOD, "docker_ce"),
        (replace(GOOD, os_version="12"), "docker_ce"),
        (replace(GOOD, os_version=""), "distro"),  # testing
        (UBUNTU, "distro"),
        (replace(UBUNTU, os_version="22.04"), "docker_ce"),
    ],
)
def test_a_suitable_host(host: Host, source: str) -> None:
    assert problems(host, source) == []
    assert warnings(host) == []


@pytest.mark.parametrize(
    ("host", "source", "words"),
    [
        (replace(GOOD, os_version="12"), "distro", "rootless_docker_package_source: docker_ce"),
        (replace(GOOD, os_version="11"), "distro", "Debian 11 is too old: Debian 13 or later"),
        (replace(GOOD, os_version="11"), "docker_ce", "Debian 11 is too old: Debian 12 or later"),
        (replace(UBUNTU, os_version="20.04"), "distro", "Ubuntu 20.04 is too old: Ubuntu 22.04 or later"),
        (replace(GOOD, os_id="fedora"), "distro", "'fedora'"),
        (replace(GOOD, systemd=False), "distro", "systemd does not run as process 1"),
        (replace(GOOD, user_namespaces=0), "distro", "set user.max_user_namespaces=28633"),
        (replace(GOOD, unprivileged_userns_clone=False), "distro", "kernel.unprivileged_userns_clone=1"),
        (replace(UBUNTU, rootlesskit_profile=False), "distro", "Do not turn the restriction off"),
        (replace(GOOD, uids={"daemon": 1}), "distro", "system account daemon (uid 1)"),
    ],
)
def test_an_unsuitable_host(host: Host, source: str, words: str) -> None:
    found = problems(host, source)
    assert len(found) == 1
    assert words in found[0]


def test_all_problems_come_at_once() -> None:
    assert len(problems(replace(GOOD, systemd=False, user_namespaces=0, os_version="10"), "distro")) == 3


@pytest.mark.parametrize(
    ("controllers", "words"),
    [(None, "cgroup v1"), (frozenset({"cpu", "io"}), "does not offer the cgroup controllers memory, pids")],
)
def test_unenforceable_limits_are_reported_loudly(controllers: frozenset[str] | None, words: str) -> None:
    host = replace(GOOD, controllers=controllers)
    assert not host.can_limit
    assert problems(host, "distro") == []
    assert words in warnings(host)[0]
    assert warnings(host)[0].startswith("MEMORY, CPU AND PROCESS LIMITS")


def test_packages() -> None:
    assert {"docker.io", "docker-compose", "uidmap"} <= set(packages("debian", "distro"))
    assert "docker-compose-v2" in packages("ubuntu", "distro")
    assert "docker-ce-rootless-extras" in packages("debian", "docker_ce")
    assert "docker.io" not in packages("debian", "docker_ce")


def test_a_removed_package_is_missing() -> None:
    assert missing(["a", "b", "c"], "a installed\nb config-files\n") == ["b", "c"]


def test_daemon_json() -> None:
    common = {"log-opts": {"max-size": "10m", "max-file": "3"}, "mtu": 1400}
    text = daemon_json("ada", "/srv/docker/ada", common, {"log-opts": {"max-size": "5m"}, "mtu": 1500})
    assert json.loads(text) == {
        "data-root": "/srv/docker/ada",
        "log-opts": {"max-size": "5m", "max-file": "3"},
        "mtu": 1500,
    }
    assert text.endswith("}\n")
    assert common["log-opts"] == {"max-size": "10m", "max-file": "3"}


@pytest.mark.parametrize("options", [RUNTIME_OPTIONS, CDI_OPTIONS, {**RUNTIME_OPTIONS, **CDI_OPTIONS}])
def test_what_containers_may_need_stays_once_it_is_there(options: dict[str, Any]) -> None:
    """Containers that have lost egress or devices, or are absent or not in the inventory, may start with it alone."""
    common = {"runtimes": {"kata": {"path": "/usr/bin/kata"}}, "features": {"buildkit": True}}
    never = daemon_json("ada", "/srv/docker/ada", common, {})
    once = daemon_json("ada", "/srv/docker/ada", common, options, never.encode())
    assert json.loads(once) == {"data-root": "/srv/docker/ada", **merge(common, options)}
    without = daemon_json("ada", "/srv/docker/ada", common, {}, once.encode())
    assert without == once, "a changed file restarts the engine"
    assert daemon_json("ada", "/srv/docker/ada", common, {}, never.encode()) == never
    assert json.loads(daemon_json("ada", "/srv/docker/ada", {}, {}, once.encode())) == {
        "data-root": "/srv/docker/ada",
        **options,
    }


@pytest.mark.parametrize("side", [0, 1])
def test_what_stays_can_be_turned_off(side: int) -> None:
    once = daemon_json("ada", "/srv/docker/ada", {}, CDI_OPTIONS)
    options: list[dict[str, Any]] = [{}, {}]
    options[side] = {"features": {"cdi": False}}
    off = daemon_json("ada", "/srv/docker/ada", *options, once.encode())
    assert off == daemon_json("ada", "/srv/docker/ada", *options)
    assert daemon_json("ada", "/srv/docker/ada", *options, off.encode()) == off


@pytest.mark.parametrize(
    "former",
    [
        b"", b"{", b"[]", b"null", b"{}", b"\xff", b'{"runtimes": ["carrel-egress"]}', b'{"features": {"cdi": true}}',
        b'{"features": {"cdi": false}, "cdi-spec-dirs": ["/etc/cdi"]}',
    ],
)  # fmt: skip
def test_a_former_configuration_without_what_stays(former: bytes) -> None:
    assert json.loads(daemon_json("ada", "/srv/docker/ada", {}, {}, former)) == {"data-root": "/srv/docker/ada"}


@pytest.mark.parametrize("check_mode", [True, False])
def test_the_module_reads_the_former_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, check_mode: bool
) -> None:
    monkeypatch.setattr(rootless_docker_engines.decide, "config_path", lambda name: f"{tmp_path}/{name}.json")

    def engine(daemon_options: dict[str, Any]) -> rootless_docker_engines.Engine:
        module: Any = SimpleNamespace(check_mode=check_mode, params={"data_root": "/srv/docker", "daemon_options": {}})
        options = {"name": "root", "state": "started", "data_root": None, "disk": 0, "daemon_options": daemon_options}
        return rootless_docker_engines.Engine(module, options)

    assert b"cdi" not in engine({}).config.content
    (tmp_path / "root.json").write_bytes(engine(CDI_OPTIONS).config.content)
    later = engine({})
    assert later.former and later.config.content == later.former.content


@pytest.mark.parametrize("key", ["data-root", "hosts"])
@pytest.mark.parametrize("side", [0, 1])
def test_reserved_options(key: str, side: int) -> None:
    options: list[dict[str, object]] = [{}, {}]
    options[side] = {key: "x"}
    with pytest.raises(ValueError, match=f"engine ada: '{key}' may not be among the daemon options"):
        daemon_json("ada", "/srv/docker/ada", *options)


def test_a_list_or_another_type_replaces() -> None:
    assert merge({"a": [1], "b": {"c": 1}}, {"a": [2], "b": 3}) == {"a": [2], "b": 3}


def test_unit() -> None:
    lines = unit_text("/usr/bin/dockerd-rootless.sh", {"B": '100% "x"\\', "A": "1"}).splitlines()
    assert "ExecStart=/usr/bin/dockerd-rootless.sh --config-file=/etc/rootless-docker/%u/daemon.json" in lines
    first = lines.index('Environment="A=1"')
    assert lines[first + 1] == 'Environment="B=100%% \\"x\\"\\\\"'
    assert "ConditionPathExists=/etc/rootless-docker/%u/daemon.json" in lines


def test_explain_drops_noise_and_gives_a_hint() -> None:
    log = "+ exec rootlesskit\ntime=x level=info msg=fine\nopen /dev/net/tun: Permission denied\n"
    text = explain(log, "ada")
    assert "exec rootlesskit" not in text and "fine" not in text
    assert "  open /dev/net/tun: Permission denied\nslirp4netns needs /dev/net/tun with mode 0666" in text
    assert "_UID=$(id -u ada)" in text
    assert "slirp4netns" not in explain("nothing of the kind\n", "ada")
