# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a module as Ansible does, in a process of its own, without the seconds that a playbook takes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
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
