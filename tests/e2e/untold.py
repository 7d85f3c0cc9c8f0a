# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a run leaked a secret: in its output, or to a log of the host."""

from __future__ import annotations

from testbed.secrets import MARK

from .conftest import Playbook, run_on

LOUD = ("-vvv", "--diff")
# grep ends with 1 where it finds nothing, which is what is wanted; the count shows that there is something to read.
LOGS = f"""
journalctl --no-pager --all --output=cat > /tmp/journal
grep -c 'Invoked with' /tmp/journal
grep -n -F '{MARK}' /tmp/journal || true
grep -r -l -F '{MARK}' /var/log --exclude-dir=journal || true
rm /tmp/journal
"""


def untold(run: Playbook, host: str) -> None:
    """Of a run with LOUD and with testbed.secrets in its inventory."""
    assert "module_args" in run.output, "the run shows what modules are given"
    assert MARK not in run.output
    modules, *found = run_on(host, "sh", "-c", LOGS).splitlines()
    assert int(modules) > 10, "the host logs what modules are given"
    assert found == []
