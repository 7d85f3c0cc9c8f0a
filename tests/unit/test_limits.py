# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Limits in the words of compose and of docker-py, and what of them an engine can hold."""

from __future__ import annotations

from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._plan.limits import LIMITS, limits_text
from ansible_collections.carrel.jupyter.plugins.module_utils._shared.limits import (
    CONTROLLERS,
    in_compose,
    in_docker_py,
    unenforceable,
)

ALL = ["cpu", "memory", "pids"]
NONE: dict[str, Any] = dict.fromkeys(LIMITS)
CORE = {"core": {"soft": 0, "hard": 0}}
SOME = {**NONE, "memory": 1000, "swap": 500, "shm_size": 200, "cpus": 1.5, "pids": 100, "disk": 10 << 30}


def test_what_is_declared_is_what_a_container_gets() -> None:
    both = {"mem_limit": 1000, "memswap_limit": 1500, "shm_size": 200, "pids_limit": 100}
    assert in_compose(SOME, ALL) == {**both, "cpus": 1.5, "ulimits": CORE}
    core = [{"name": "core", **CORE["core"]}]
    assert in_docker_py(SOME, ALL) == {**both, "cpu_period": 100_000, "cpu_quota": 150_000, "ulimits": core}


def test_the_summary_shows_limits() -> None:
    text = "1000 of memory, 500 of swap, 200 of shared memory, 1.5 CPUs, 100 processes, 10G of disk"
    assert limits_text(SOME) == text and limits_text(NONE) == "none"


def test_memory_without_swap_is_all_that_there_is() -> None:
    assert in_compose({"memory": 1000}, ALL)["memswap_limit"] == 1000


def test_without_limits_there_are_no_fork_bombs_and_no_core_files() -> None:
    for limits in ({}, NONE):
        assert in_compose(limits, ALL) == {"pids_limit": 4096, "ulimits": CORE}
        assert in_docker_py(limits, ALL).keys() == {"pids_limit", "ulimits"}


def test_unenforceable_limits_are_left_out_and_reported() -> None:
    assert in_compose(SOME, ["pids"]) == {"shm_size": 200, "pids_limit": 100, "ulimits": CORE}
    assert in_docker_py(SOME, ["memory"]).keys() == {"mem_limit", "memswap_limit", "shm_size", "ulimits"}
    assert unenforceable(SOME, ["pids"]) == ["memory", "cpus"]
    assert unenforceable(NONE, []) == []
    assert CONTROLLERS.keys() <= LIMITS.keys()


def test_ulimits_that_are_given_stand_beside_that_of_core_files_or_replace_it() -> None:
    nofile, core = {"nofile": {"soft": 1024, "hard": 4096}}, {"core": {"soft": 0, "hard": -1}}
    assert in_compose({"ulimits": nofile}, ALL)["ulimits"] == {**CORE, **nofile}
    assert in_docker_py({"ulimits": core}, ALL)["ulimits"] == [{"name": "core", "soft": 0, "hard": -1}]
