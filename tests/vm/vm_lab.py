# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A lab in a virtual machine with a bare Debian 13."""

from __future__ import annotations

import os
import secrets
import shlex
import subprocess
from pathlib import Path
from typing import Any

import requests
import yaml

from testbed import pki, vm
from testbed.client import Lab
from testbed.run import ROOT

URL = f"https://localhost:{vm.SITE_PORT}/"
PASSWORD = secrets.token_urlsafe()
# An emulated processor is some twenty times slower.
SECONDS = 900
FACT = """\
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.assert:
        that: rootless_docker_limits_enforced
"""


class Machine:
    """The virtual machine and the inventory with its lab."""

    def __init__(self, folder: Path, registry: str) -> None:
        self.folder = folder
        self.output = ""
        self.lab: dict[str, Any] = {
            "name": "tao",
            "kind": "lab",
            "url": URL,
            "image": f"{registry}/carrel/lab:1.0",
            "password": PASSWORD,
            "memory": "300M",
            "cpus": 0.5,
            "pids": 200,
            "start_timeout_seconds": SECONDS,
            "reset": {"at": "02:30", "people": "ignore", "notice_seconds": 0},
        }

    def start(self) -> subprocess.Popen[str]:
        """Start the site playbook, and what checks its fact."""
        variables = {
            "ansible_host": "127.0.0.1",
            "ansible_port": vm.SSH_PORT,
            "ansible_user": "root",
            "ansible_ssh_common_args": " ".join(vm.SSH_OPTIONS),
            "ansible_python_interpreter": "/usr/bin/python3",
            "jupyter_tls": {"mode": "files", "certificate": "/etc/ssl/site.crt", "private_key": "/etc/ssl/site.key"},
            "jupyter_instances": [self.lab],
        }
        (self.folder / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": {"carrel-vm": variables}}}))
        (self.folder / "fact.yml").write_text(FACT)
        return subprocess.Popen(
            ["ansible-playbook", "-i", self.folder / "hosts.yml", "playbooks/site.yml", self.folder / "fact.yml"],
            # Else Ansible prints a task's name with its first result, and not when it begins.
            env={**os.environ, "ANSIBLE_DISPLAY_SKIPPED_HOSTS": "true"},
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def play(self) -> str:
        """Run them to their end; return what they printed."""
        running = self.start()
        output, _unused = running.communicate()
        assert running.returncode == 0, output
        return output


def limits(lab: Lab) -> dict[str, str]:
    """The limits as the kernel of the machine tells them to a process in the container."""
    names = ("memory.max", "memory.swap.max", "cpu.max", "pids.max")
    code = "".join(f"print(open('/sys/fs/cgroup/{name}').read().strip())\n" for name in names)
    return dict(zip(names, lab.run(code).splitlines(), strict=True))


def answers() -> bool:
    try:
        return requests.get(URL + "api", verify=str(pki.CA), timeout=20).ok
    except requests.RequestException:
        return False


def as_account(command: str) -> str:
    """Run a command as the account of the lab's engine."""
    return vm.ssh(f"su - tao -c {shlex.quote(command)}")


def server() -> str:
    """The id, the restarts and the health of the lab's container."""
    show = "{{.Id}} {{.RestartCount}} {{.State.Health.Status}}"
    return as_account(
        f"docker inspect --format '{show}' $(docker ps --quiet --filter label=com.docker.compose.project=tao)"
    )
