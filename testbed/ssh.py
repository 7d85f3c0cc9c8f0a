# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A test host over ssh, as an administrator who becomes root with sudo and a password, as on most servers."""

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
