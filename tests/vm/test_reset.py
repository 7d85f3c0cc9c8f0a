# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's own cron starts the reset, by the host's own clock."""

from __future__ import annotations

import json
from typing import Any

from vm_lab import PASSWORD, SECONDS, URL, Machine, server

from testbed import pki, vm
from testbed.client import Lab
from testbed.patience import PATIENCE, until


def state() -> dict[str, Any]:
    """What the lab's last reset wrote; a site run that changed the lab's container was one, too."""
    found: dict[str, Any] = json.loads(vm.ssh("cat /var/lib/carrel/tao/reset/state.json", check=False) or "{}")
    return found


def test_cron_resets_the_lab_at_its_time(machine: Machine) -> None:
    before, earlier = server(), state()
    minute, hour = vm.ssh("grep -v '^[A-Z#]' /etc/cron.d/carrel-tao").split()[:2]
    vm.ssh(f'date --set "$(date --date tomorrow +%F) {hour}:{minute}:00 1 minute ago"')

    def done() -> bool:
        now = state()
        return now.get("result") == "done" and now["started"] != earlier.get("started")

    until(done, lambda: f"{state()} {vm.ssh('cat /etc/cron.d/carrel-tao; date')}", SECONDS + PATIENCE, pause=5)
    after = server()
    assert after.split()[0] != before.split()[0]
    assert after.split()[1:] == ["0", "healthy"]
    with Lab(URL, str(pki.CA), timeout=120) as lab:
        assert lab.login(PASSWORD).get("kept.txt") == "saved before"
