# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""hub_servers on a real engine, with containers that stand for users' servers."""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from ansible_runner import four_runs, run

from testbed import images

SOCKET = "/var/run/docker.sock"


def docker(*arguments: str) -> list[str]:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=True).stdout.split()


@pytest.fixture
def hub() -> Iterator[str]:
    """A hub's name, with a server that runs, one that stopped, and one of another hub whose name begins the same."""
    name = f"carrel-test-{secrets.token_hex(3)}"
    networks: list[str] = []
    servers = {f"{name}_ada": name, f"{name}_grace": name, f"{name}-2_ada": f"{name}-2"}
    for server, instance in servers.items():
        label = f"carrel.instance={instance}"
        networks.append(server.replace("_", "_users_"))
        docker("network", "create", "--label", label, networks[-1])
        docker(
            "run",
            "--detach",
            "--name",
            server,
            "--label",
            label,
            "--network",
            networks[-1],
            images.base(),
            "sleep",
            "300",
        )
    docker("kill", f"{name}_grace")
    # the hub's own container is still in users' networks when it is stopped
    docker("create", "--name", f"{name}-hub", "--network", networks[0], images.base())
    yield name
    subprocess.run(["docker", "rm", "--force", *servers, f"{name}-hub"], capture_output=True, check=False)
    subprocess.run(["docker", "network", "rm", *networks], capture_output=True, check=False)


def there(hub: str, *options: str) -> set[str]:
    return {name.removeprefix(hub) for name in docker("ps", *options, "--format", "{{.Names}}") if name.startswith(hub)}


def networks(hub: str) -> set[str]:
    names = docker("network", "ls", "--format", "{{.Name}}")
    return {name.removeprefix(hub) for name in names if name.startswith(hub)}


def arguments(hub: str, state: str) -> dict[str, Any]:
    return {"name": hub, "socket": SOCKET, "state": state, "timeout_seconds": 0}


def test_those_that_run_are_stopped_and_all_are_kept(hub: str) -> None:
    check, real, *_unused = four_runs("hub_servers", arguments(hub, "stopped"))
    assert check["containers"] == real["containers"] == [f"{hub}_ada"]
    assert there(hub) == {"-2_ada"} and there(hub, "--all") == {"_ada", "_grace", "-2_ada", "-hub"}
    assert real["networks"] == [] and len(networks(hub)) == 3


def test_all_are_removed_and_another_hub_s_stay(hub: str) -> None:
    assert run("hub_servers", arguments(hub, "absent"), "--check")["changed"]
    assert there(hub, "--all") == {"_ada", "_grace", "-2_ada", "-hub"} and len(networks(hub)) == 3
    # An administrator's own context must not lead to another engine.
    context = {"DOCKER_CONTEXT": "elsewhere", "DOCKER_HOST": "unix:///nowhere"}
    real = run("hub_servers", arguments(hub, "absent"), environment=context)
    assert real["containers"] == [f"{hub}_ada", f"{hub}_grace"]
    assert real["networks"] == [f"{hub}_users_ada", f"{hub}_users_grace"]
    assert there(hub, "--all") == {"-2_ada", "-hub"} and networks(hub) == {"-2_users_ada"}
    assert not run("hub_servers", arguments(hub, "absent"))["changed"]


def test_an_engine_that_does_not_answer_is_reported(hub: str) -> None:
    answer = run("hub_servers", {**arguments(hub, "stopped"), "socket": "/nowhere/docker.sock"})
    assert answer["failed"] and "/nowhere/docker.sock" in answer["msg"]
