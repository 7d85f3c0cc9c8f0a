# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Limits of a lab on a kernel that holds them, in a virtual machine with a bare Debian 13, and its reboot."""

from __future__ import annotations

import secrets
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
import yaml

from testbed import pki, vm
from testbed.__main__ import vm_up
from testbed.client import KernelDied, Lab
from testbed.patience import until
from testbed.run import ROOT

URL = f"https://localhost:{vm.SITE_PORT}/"
PASSWORD = secrets.token_urlsafe()
# An emulated processor is some twenty times slower.
SECONDS = 900
LIMITS = {"memory.max": str(300 * 2**20), "memory.swap.max": "0", "cpu.max": "50000 100000", "pids.max": "200"}
FACT = """\
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.assert:
        that: rootless_docker_limits_enforced
"""


@dataclass
class Machine:
    """The virtual machine after a first run of the site playbook."""

    folder: Path
    output: str = ""

    def play(self) -> str:
        """Run the site playbook, and what checks its fact; return what they printed."""
        done = subprocess.run(
            ["ansible-playbook", "-i", self.folder / "hosts.yml", "playbooks/site.yml", self.folder / "fact.yml"],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout
        return done.stdout


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    registry = vm_up()
    variables = {
        "ansible_host": "127.0.0.1",
        "ansible_port": vm.SSH_PORT,
        "ansible_user": "root",
        "ansible_ssh_common_args": " ".join(vm.SSH_OPTIONS),
        "ansible_python_interpreter": "/usr/bin/python3",
        "jupyter_tls": {"mode": "files", "certificate": "/etc/ssl/site.crt", "private_key": "/etc/ssl/site.key"},
        "jupyter_instances": [
            {
                "name": "tao",
                "kind": "lab",
                "url": URL,
                "image": f"{registry}/carrel/lab:1.0",
                "password": PASSWORD,
                "memory": "300M",
                "cpus": 0.5,
                "pids": 200,
                "start_timeout_seconds": SECONDS,
            }
        ],
    }
    machine = Machine(tmp_path_factory.mktemp("vm"))
    (machine.folder / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": {"carrel-vm": variables}}}))
    (machine.folder / "fact.yml").write_text(FACT)
    machine.output = machine.play()
    return machine


@pytest.fixture
def lab(machine: Machine) -> Iterator[Lab]:
    with Lab(URL, str(pki.CA), timeout=120) as lab:
        yield lab.login(PASSWORD)


def limits(lab: Lab) -> dict[str, str]:
    """The limits as the kernel of the machine tells them to a process in the container."""
    code = "".join(f"print(open('/sys/fs/cgroup/{name}').read().strip())\n" for name in LIMITS)
    return dict(zip(LIMITS, lab.run(code).splitlines(), strict=True))


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
    events = dict(line.split() for line in lab.run("print(open('/sys/fs/cgroup/memory.events').read())").splitlines())
    assert int(events["oom_kill"]) >= 1
    assert engine("inspect", "--format", "{{.RestartCount}} {{.State.Health.Status}}", "tao-lab-1") == "0 healthy"


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


def test_all_comes_back_after_a_reboot(machine: Machine) -> None:
    vm.reboot()
    until(answers, "the lab answers", pause=1)
    uid = vm.ssh("id -u tao")
    controllers = vm.ssh(f"cat /sys/fs/cgroup/user.slice/user-{uid}.slice/user@{uid}.service/cgroup.controllers")
    assert set(controllers.split()) >= {"cpu", "cpuset", "io", "memory", "pids"}
    with Lab(URL, str(pki.CA), timeout=120) as lab:
        assert limits(lab.login(PASSWORD)) == LIMITS


def answers() -> bool:
    try:
        return requests.get(URL + "api", verify=str(pki.CA), timeout=20).ok
    except requests.RequestException:
        return False


def engine(*arguments: str) -> str:
    """Run docker as the account of the engine."""
    return vm.ssh(f"su - tao -c {shlex.quote(shlex.join(['docker', *arguments]))}")
