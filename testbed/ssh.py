# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A test host over ssh, as an administrator who becomes root with sudo and a password, as on most servers.

And a host whose connection breaks at a certain call, which a real ssh cannot.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

from . import engine
from .run import run, step

ADMIN = "admin"
# Hardened servers have such a umask, and sudo keeps what it forbids.
SETUP = f"""
set -e
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
apt-get -qq install -y --no-install-recommends openssh-server sudo > /dev/null
useradd --create-home --shell /bin/bash --groups sudo --comment umask=077 {ADMIN}
read -r password
echo "{ADMIN}:$password" | chpasswd
umask 077
mkdir /home/{ADMIN}/.ssh
cat > /home/{ADMIN}/.ssh/authorized_keys
chown -R {ADMIN}: /home/{ADMIN}/.ssh
"""

# The host still does what it was asked; its answer is lost.
BREAKS = """#!/bin/sh
for command; do :; done
echo >> "$0.calls"
calls=$(wc -l < "$0.calls")
[ "$calls" -ge {calls} ] || exec {shell} "$command"
[ "$calls" -gt {calls} ] || {shell} "$command" > /dev/null 2>&1
echo "Connection closed by remote host." >&2
exit 255
"""


def breaks(shell: str, calls: int, folder: Path) -> dict[str, Any]:
    """Return variables for Ansible of a host that is lost in the middle of a call.

    A program in the place of ssh lets SHELL, such as `sh -c`, run each call, and ends as ssh does without a connection.
    """
    ssh = folder / "ssh"
    ssh.write_text(BREAKS.format(shell=shell, calls=calls), encoding="utf-8")
    ssh.chmod(0o755)
    return {
        "ansible_connection": "ssh",
        "ansible_ssh_executable": str(ssh),
        # Each task is one call.
        "ansible_pipelining": True,
        "ansible_ssh_transfer_method": "piped",
    }


def reach(host: str, port: int, folder: Path) -> dict[str, Any]:
    """Let the administrator log in to a test host, whose port 22 is published; return its variables for Ansible."""
    engine.install_packages("openssh-client")
    key, password = folder / "id_ed25519", secrets.token_hex(8)
    if not key.exists():
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key)
    with step(f"setting up ssh on {host}"):
        given = f"{password}\n{key.with_suffix('.pub').read_text()}"
        run("docker", "exec", "--interactive", host, "sh", "-c", SETUP, input_text=given)
    return {
        "ansible_connection": "ssh",
        "ansible_host": "127.0.0.1",
        "ansible_port": port,
        "ansible_user": ADMIN,
        "ansible_ssh_private_key_file": str(key),
        # The hosts are new each time, at the same address.
        "ansible_ssh_common_args": "-oIdentitiesOnly=yes -oStrictHostKeyChecking=no -oUserKnownHostsFile=/dev/null",
        "ansible_become": True,
        "ansible_become_password": password,
    }
