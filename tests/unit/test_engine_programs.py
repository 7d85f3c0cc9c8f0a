# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of an engine's programs were replaced while they run, of /proc as a host shows it, and of this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from ansible_collections.carrel.jupyter.plugins.module_utils._engine.programs import PROGRAMS, advice
from ansible_collections.carrel.jupyter.plugins.module_utils._host.engine_programs import replaced

ENGINE = "0::/user.slice/user-1002.slice/user@1002.service/app.slice/rootless-docker.service\n"


def process(proc: Path, pid: int, program: str, group: str = ENGINE) -> None:
    folder = proc / str(pid)
    folder.mkdir()
    (folder / "exe").symlink_to(program)
    (folder / "cgroup").write_bytes(os.fsencode(group))


def test_what_an_upgrade_has_replaced(tmp_path: Path) -> None:
    (tmp_path / "sys").mkdir()
    process(tmp_path, 10, "/usr/sbin/dockerd (deleted)", "9:name=systemd:/\n" + ENGINE)
    process(tmp_path, 11, "/usr/bin/containerd (deleted)")
    process(tmp_path, 12, "/usr/bin/rootlesskit")
    (tmp_path / "13").mkdir()  # a kernel's thread, or one that ends
    assert replaced(1002, str(tmp_path)) == ["containerd", "dockerd"]
    assert replaced(100, str(tmp_path)) == []


@pytest.mark.parametrize(
    ("program", "group"),
    [
        ("/usr/sbin/dockerd", ENGINE),
        ("/usr/bin/python3.13 (deleted)", ENGINE),
        ("/usr/sbin/dockerd (deleted)", "0::/user.slice/user-1002.slice/user@1002.service/user.slice/docker-1.scope\n"),
        ("/usr/sbin/dockerd (deleted)", "0::/system.slice/docker.service\n"),
        # accounts name the groups below their own as they like
        ("/usr/sbin/dockerd (deleted)", "0::/user.slice/user-1002.slice/user@1002.service/\udcff\n"),
    ],
)
def test_programs_of_others_are_ignored(tmp_path: Path, program: str, group: str) -> None:
    process(tmp_path, 10, program, group)
    assert replaced(1002, str(tmp_path)) == []


def test_the_kernel_reports_replaced_programs_as_expected(tmp_path: Path) -> None:
    """A real program that is replaced while it runs; its control group alone has to be written by hand."""
    program = tmp_path / PROGRAMS[0]
    shutil.copy(shutil.which("sleep") or "/bin/sleep", program)
    with subprocess.Popen([program, "30"]) as running:
        try:
            (tmp_path / "proc").mkdir()
            program.unlink()
            process(tmp_path / "proc", running.pid, os.readlink(f"/proc/{running.pid}/exe"))
            assert replaced(1002, str(tmp_path / "proc")) == [PROGRAMS[0]]
        finally:
            running.kill()


def test_the_advice_is_a_command() -> None:
    text = advice("tao", ["dockerd"])
    assert text.endswith("su --pty - tao -c 'systemctl --user restart rootless-docker'") and "dockerd" in text
