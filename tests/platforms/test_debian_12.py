# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Debian 12 with its own docker.io: what is missing is said before anything of the host is touched."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed import __main__ as testbed
from tests.e2e.conftest import ansible_playbook, run_on

HOST = "carrel-bookworm-1"
LAB = {"name": "tao", "url": f"https://{HOST}/", "image": "registry.carrel.test:5000/carrel/lab:1.0"}
FILES = (
    "find /etc /home /srv /usr/local /var/lib/carrel /var/lib/systemd/linger -xdev -printf '%m %U:%G %p ' "
    "\\( -type f -exec sha256sum {} \\; -o -printf '\\n' \\) 2>/dev/null; dpkg-query --show; systemctl list-unit-files"
)


@pytest.fixture
def host() -> Iterator[str]:
    try:
        testbed.up("platforms", [HOST], "bookworm")
        yield HOST
    finally:
        testbed.down("platforms")


def test_a_docker_that_is_too_old_is_refused_before_anything_is_touched(host: str, tmp_path: Path) -> None:
    variables = {
        "ansible_connection": "community.docker.docker",
        "ansible_python_interpreter": "/usr/bin/python3",
        "jupyter_tls": "selfsigned",
        "jupyter_instances": [LAB],
    }
    before = run_on(host, "sh", "-c", FILES)
    assert "VERSION_CODENAME=bookworm" in run_on(host, "cat", "/etc/os-release")
    for arguments in (["--check"], []):
        run = ansible_playbook(tmp_path, {host: variables}, "playbooks/site.yml", *arguments)
        assert (run.code, run.changed) == (2, 0)
        said = " ".join(run.output.split())
        assert "the Docker in Debian 12 is too old for this (20.10, without compose v2)" in said
        assert "set rootless_docker_package_source: docker_ce to install upstream's packages" in said
        assert run_on(host, "sh", "-c", FILES) == before
