# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Limits of a lab on a kernel that holds them, in a virtual machine with a bare Debian 13."""

from __future__ import annotations

import pytest
from vm_lab import Machine, limits, server

from testbed.client import KernelDied, Lab

LIMITS = {"memory.max": str(300 * 2**20), "memory.swap.max": "0", "cpu.max": "50000 100000", "pids.max": "200"}


def test_no_limit_is_left_out(machine: Machine) -> None:
    assert "runs without its limits" not in machine.output
    assert "WILL NOT HOLD" not in machine.output


def test_a_second_run_changes_nothing(machine: Machine) -> None:
    assert "changed=0" in machine.play()


def test_the_container_has_its_limits(lab: Lab) -> None:
    assert limits(lab) == LIMITS


def test_a_kernel_that_takes_too_much_memory_dies_and_the_server_lives_on(lab: Lab) -> None:
    with pytest.raises(KernelDied):
        lab.run("hog = b'x' * (600 << 20)")
    events = dict(
        line.split() for line in lab.run("print(open('/sys/fs/cgroup/memory.events').read().strip())").splitlines()
    )
    assert int(events["oom_kill"]) >= 1
    assert server().split()[1:] == ["0", "healthy"]


def test_a_kernel_gets_half_a_processor(lab: Lab) -> None:
    code = (
        "import time\nbegan, used = time.monotonic(), time.process_time()\n"
        "while time.monotonic() < began + 10: pass\n"
        "print((time.process_time() - used) / (time.monotonic() - began))"
    )
    assert 0.1 < float(lab.run(code)) < 0.6


def test_processes_end_at_the_limit(lab: Lab) -> None:
    code = (
        "import threading\nend, threads = threading.Event(), []\n"
        "try:\n"
        "    for _ in range(300):\n"
        "        threads.append(threading.Thread(target=end.wait))\n"
        "        threads[-1].start()\n"
        "except RuntimeError as error:\n"
        "    print(error, len(threads))\n"
        "end.set()"
    )
    message, _unused, count = lab.run(code).strip().rpartition(" ")
    assert message == "can't start new thread"
    assert 100 < int(count) < 200
