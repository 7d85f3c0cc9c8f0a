# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files that reserve ports for the accounts of engines, and the warning where ports cannot be reserved."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._changes.file import File

PROGRAM = "/usr/local/lib/carrel/ports.py"
RULES = "/etc/carrel/ports.json"
UNIT = "carrel-ports.service"
UNIT_PATH = f"/etc/systemd/system/{UNIT}"
UNIT_LINK = f"/etc/systemd/system/sysinit.target.wants/{UNIT}"
NO_ACCOUNT = 2**32 - 1  # (uid_t) -1, which no process can have: setuid(2) refuses it
COMMAND = ["/usr/bin/python3", "-I", PROGRAM]

# Before anything that runs for other accounts than root.
_UNIT = f"""\
# Managed by Ansible: lets nobody but the account of an instance bind the instance's ports
[Unit]
Description=Keep the ports of Jupyter instances for their accounts
DefaultDependencies=no
RequiresMountsFor={PROGRAM} {RULES}
Before=sysinit.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart={" ".join(COMMAND)}

[Install]
WantedBy=sysinit.target
"""


def files(ports: Iterable[Mapping[str, Any]], uids: Mapping[str, int], program: str) -> dict[str, File]:
    """What is written where. Raises ValueError for a port with two accounts.

    Nobody can bind the ports of an account without a uid: Apache may forward to them before the account is made.
    """
    owners: dict[int, str] = {}
    for entry in ports:
        for port in entry["ports"]:
            if not 0 < port < 65536:
                raise ValueError(f"{entry['account']}: {port} is not a port")
            if owners.setdefault(port, entry["account"]) != entry["account"]:
                raise ValueError(f"port {port} cannot be reserved for both {owners[port]} and {entry['account']}")
    rules = {str(port): uids.get(account, NO_ACCOUNT) for port, account in sorted(owners.items())}
    return {
        PROGRAM: File(program.encode(), 0o755),
        RULES: File((json.dumps({"ports": rules}, indent=2) + "\n").encode()),
        UNIT_PATH: File(_UNIT.encode()),
    }


def open_ports(ports: Iterable[int]) -> str:
    """The risk if others can bind these ports."""
    numbers = sorted(ports)
    which = f"port {numbers[0]}" if len(numbers) == 1 else f"ports {', '.join(map(str, numbers))}"
    return (
        f"any account of this host can bind {which} of 127.0.0.1 while nothing listens there, and then receives what"
        " people send, passwords included"
    )


def warning(ports: Iterable[int], error: str | None) -> str:
    reason = error or "the kernel does not enforce the rules"
    return f"PORTS ARE NOT PROTECTED: {open_ports(ports)} ({reason}). See docs/explanation/rootless-docker.md."
