# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The limits of a container as the plan has them, in the words of compose and of docker-py."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

# limit: the cgroup controller without which it does not hold
CONTROLLERS = {"memory": "memory", "cpus": "cpu", "pids": "pids"}
# Processes and threads of a container for which nothing is declared: enough for numeric libraries, which start a thread
# for each processor in each kernel, and too few for a fork bomb to reach the other containers of the engine.
PIDS = 4096
# A crashed kernel must leave no core file among people's files.
ULIMITS = {"core": {"soft": 0, "hard": 0}}


def unenforceable(limits: Mapping[str, Any], controllers: Collection[str]) -> list[str]:
    """The limits that the engine's cgroup cannot hold; Docker drops some of them silently and refuses others."""
    return [name for name, controller in CONTROLLERS.items() if limits.get(name) and controller not in controllers]


def in_compose(limits: Mapping[str, Any], controllers: Collection[str]) -> dict[str, Any]:
    """Keys of a service, without the limits that the engine cannot hold."""
    cpus = {"cpus": limits["cpus"]} if limits.get("cpus") and "cpu" in controllers else {}
    return {**_in_both(limits, controllers), **cpus, "ulimits": _ulimits(limits)}


def in_docker_py(limits: Mapping[str, Any], controllers: Collection[str]) -> dict[str, Any]:
    """Arguments of create_host_config, without the limits that the engine cannot hold."""
    cpus = (
        {"cpu_period": 100_000, "cpu_quota": int(limits["cpus"] * 100_000)}
        if limits.get("cpus") and "cpu" in controllers
        else {}
    )
    ulimits = [{"name": name, **values} for name, values in _ulimits(limits).items()]
    return {**_in_both(limits, controllers), **cpus, "ulimits": ulimits}


def _ulimits(limits: Mapping[str, Any]) -> dict[str, Mapping[str, int]]:
    return {**ULIMITS, **(limits.get("ulimits") or {})}


def _in_both(limits: Mapping[str, Any], controllers: Collection[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    memory = limits.get("memory")
    if memory and "memory" in controllers:
        # Docker counts swap on top of memory into the same sum.
        found.update(mem_limit=memory, memswap_limit=memory + (limits.get("swap") or 0))
    if limits.get("shm_size"):
        found["shm_size"] = limits["shm_size"]
    if "pids" in controllers:
        found["pids_limit"] = limits.get("pids") or PIDS
    return found
