# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A reboot, and power cuts while the lab runs and while the site playbook changes it."""

from __future__ import annotations

import json

import pytest
from vm_lab import PASSWORD, SECONDS, URL, Machine, answers, limits

from testbed import pki, vm
from testbed.client import Lab
from testbed.patience import until


def whole(memory: int) -> None:
    """The lab runs with that limit of memory, and has the file that was saved."""
    until(answers, "the lab answers", SECONDS, pause=1)
    with Lab(URL, str(pki.CA), timeout=120) as lab:
        assert limits(lab.login(PASSWORD))["memory.max"] == str(memory * 2**20)
        assert lab.get("kept.txt") == "saved before"


def starts() -> bool:
    """Whether a reset is about to start a server beside the running one."""
    state = json.loads(vm.ssh("cat /var/lib/carrel/tao/reset/state.json 2> /dev/null || echo {}"))
    return (state.get("result"), state.get("step")) == ("running", "start")


@pytest.fixture(scope="module", autouse=True)
def saved(machine: Machine) -> None:
    until(answers, "the lab answers", SECONDS, pause=1)
    with Lab(URL, str(pki.CA), timeout=120) as lab:
        lab.login(PASSWORD).put("kept.txt", "saved before")


def test_all_comes_back_after_a_reboot() -> None:
    vm.reboot()
    whole(300)
    uid = vm.ssh("id -u tao")
    controllers = vm.ssh(f"cat /sys/fs/cgroup/user.slice/user-{uid}.slice/user@{uid}.service/cgroup.controllers")
    assert set(controllers.split()) >= {"cpu", "cpuset", "io", "memory", "pids"}


def test_all_comes_back_after_a_power_cut() -> None:
    vm.cut_power()
    whole(300)


def test_the_next_run_completes_one_that_a_power_cut_ended(machine: Machine) -> None:
    machine.lab["memory"] = "320M"
    running = machine.start()
    assert running.stdout
    try:
        for line in running.stdout:
            if "Start | Replace a running server by a reset" in line:
                break
        else:
            raise AssertionError("the run did not replace the server")
        until(starts, "the new container is being started", SECONDS, pause=1)
    finally:
        vm.cut_power()
        running.communicate()
    assert running.returncode != 0

    machine.play()
    whole(320)
    assert "changed=0" in machine.play()
