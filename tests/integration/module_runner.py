# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a module as Ansible does, in a process of its own, without the seconds that a playbook takes."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CODE = """
import json, runpy, sys
from ansible.module_utils import basic
from ansible.module_utils.testing import patch_module_args
with patch_module_args(json.load(sys.stdin)):
    runpy.run_module("ansible_collections.carrel.jupyter.plugins.modules." + sys.argv[1], run_name="__main__")
"""


def start(
    module: str, arguments: dict[str, Any], check: bool = False, prefix: tuple[str, ...] = ()
) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [*prefix, sys.executable, "-c", CODE, module], text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert process.stdin
    process.stdin.write(json.dumps({**arguments, "_ansible_check_mode": check, "_ansible_diff": True}))
    process.stdin.close()
    process.stdin = None
    return process


def run(module: str, arguments: dict[str, Any], check: bool = False, prefix: tuple[str, ...] = ()) -> dict[str, Any]:
    """What the module said; PREFIX is a command that runs a command."""
    output, errors = start(module, arguments, check, prefix).communicate()
    assert output, errors
    answer: dict[str, Any] = json.loads(output)
    return answer


def four_runs(module: str, arguments: dict[str, Any]) -> list[dict[str, Any]]:
    """Check, real, check, real: the first two say the same, the others change nothing."""
    answers = [run(module, arguments, check) for check in (True, False, True, False)]
    assert [answer.get("changed") for answer in answers] == [True, True, False, False], answers
    assert answers[0]["diff"] == answers[1]["diff"] and answers[2]["diff"] == []
    return answers


SWAPPER = """
import ctypes, os, sys
os.chdir(sys.argv[1])
names = [name.encode() for name in sys.argv[3:]]
for number, name in enumerate(names):
    os.symlink(sys.argv[2], b"link%d" % number)
print(flush=True)
while True:
    for number, name in enumerate(names):
        for _ in range(2):  # renameat2 with RENAME_EXCHANGE: both are always there
            assert ctypes.CDLL(None).renameat2(-100, name, -100, b"link%d" % number, 2) == 0
"""


@contextlib.contextmanager
def swapping(folder: Path, target: Path, *names: str) -> Iterator[None]:
    """In FOLDER somebody exchanges each name with a link to TARGET, and back, as fast as possible."""
    command = [sys.executable, "-c", SWAPPER, str(folder), str(target), *names]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout and process.stdout.readline()
        try:
            yield
            assert process.poll() is None
        finally:
            process.kill()


def open_to_all(folder: Path) -> Path:
    """Let other users pass, those of containers too; pytest makes its folders for their owner only."""
    for parent in (folder, *folder.parents):
        if parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o011)
    return folder


@contextlib.contextmanager
def container(account: int, start: int) -> Iterator[tuple[str, ...]]:
    """The namespaces that a rootless engine gives a container, as a command to run one in them as its root.

    ACCOUNT is the engine's account, whose range in /etc/subuid and /etc/subgid begins at START. /mnt is an empty file
    system.
    """
    with subprocess.Popen(["unshare", "--user", "--mount", "sh", "-c", "echo; exec sleep 60"], stdout=-1) as process:
        assert process.stdout and process.stdout.readline()
        for kind in ("uid", "gid"):
            Path(f"/proc/{process.pid}/{kind}_map").write_text(f"0 {account} 1\n1 {start} 65536\n")
        enter = ("nsenter", f"--target={process.pid}", "--user", "--mount", "--setuid=0", "--setgid=0")
        try:
            subprocess.run([*enter, "mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/mnt"], check=True)
            yield enter
        finally:
            process.kill()
