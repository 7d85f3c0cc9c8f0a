# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Docker's packages are replaced by apt while an engine runs."""

from __future__ import annotations

import re
import shlex

from vm_lab import SECONDS, Machine, answers, server

from testbed import vm
from testbed.client import Lab
from testbed.patience import until


def test_an_upgrade_of_dockers_packages_stops_nothing_and_is_told(machine: Machine, lab: Lab) -> None:
    before, rootful = server(), vm.ssh("systemctl is-enabled docker.service docker.socket", check=False)
    kernel = lab.kernel()
    kernel.run("kept = 42")
    # apt replaces the files and runs the scripts of the packages as in an upgrade; Debian has one version of each only.
    vm.ssh(
        "DEBIAN_FRONTEND=noninteractive apt-get -qq install --reinstall docker.io containerd rootlesskit slirp4netns"
    )
    assert kernel.run("print(kept)").strip() == "42"
    assert server() == before
    assert vm.ssh("systemctl is-enabled docker.service docker.socket", check=False) == rootful

    output = machine.play()
    assert "changed=0" in output
    assert kernel.run("print(kept)").strip() == "42"
    told = re.search(
        r"the engine tao still runs the old ([\w, ]+) although .*?: (su .+ restart rootless-docker')",
        " ".join(output.split()),
    )
    assert told, output
    assert "dockerd" in told[1] and "containerd" in told[1]

    vm.ssh(f"script --quiet --return --command {shlex.quote(told[2])} /dev/null")
    until(answers, "the lab answers", SECONDS, pause=1)
    assert "still runs the old" not in machine.play()
