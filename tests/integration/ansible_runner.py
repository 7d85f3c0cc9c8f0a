# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run one module on this machine through Ansible, and compare trees of files."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

PLAYBOOK = Path(sys.executable).with_name("ansible-playbook")


def run(
    module: str, arguments: dict[str, Any], *options: str, environment: dict[str, str] | None = None
) -> dict[str, Any]:
    """The module's answer, with `failed` and `output` (all that Ansible printed)."""
    with tempfile.TemporaryDirectory() as folder:
        job = Path(folder, "job.json")
        job.write_text(json.dumps(arguments))
        # What comes from a file is data: braces in it are not Ansible's to interpret.
        task = {f"carrel.jupyter.{module}": {name: f"{{{{ job.{name} }}}}" for name in arguments}}
        variables = {
            "job": f"{{{{ lookup('ansible.builtin.file', '{job}') | from_json }}}}",
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
        }
        play = {"hosts": "localhost", "gather_facts": False, "vars": variables, "tasks": [task]}
        playbook = Path(folder, "play.yml")
        playbook.write_text(json.dumps([play]))
        command = [str(PLAYBOOK), "--inventory", "localhost,", "-v", *options, str(playbook)]
        # Ansible finds the collection where this process finds it.
        collections = os.pathsep.join(path for path in sys.path if (Path(path) / "ansible_collections").is_dir())
        settings = {
            "ANSIBLE_COLLECTIONS_PATH": collections,
            "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",
            "ANSIBLE_NOCOLOR": "1",
        }
        process = subprocess.run(
            command, capture_output=True, text=True, env={**os.environ, **settings, **(environment or {})}, check=False
        )
    found = re.search(r"^(?:ok|changed|fatal): \[localhost\](?:: FAILED!)? => ", process.stdout, re.MULTILINE)
    assert found, process.stdout + process.stderr
    answer, _unused = json.JSONDecoder().raw_decode(process.stdout, found.end())
    assert "deprecations" not in answer, answer
    return {**answer, "failed": "FAILED!" in found[0], "output": process.stdout}


def four_runs(module: str, arguments: dict[str, Any]) -> list[dict[str, Any]]:
    """Check, real, check, real, all with the diff; the first pair changes something, the second does not."""
    answers = [run(module, arguments, *options, "--diff") for options in (["--check"], [], ["--check"], [])]
    assert [answer.get("changed") for answer in answers] == [True, True, False, False], answers
    return answers


def tree(path: Path) -> dict[str, tuple[int, int, int, bytes]]:
    """Every file and directory below, with mode, owner and content."""
    found = {}
    for entry in sorted(path.rglob("*")):
        status = entry.lstat()
        content = entry.read_bytes() if entry.is_file() else b""
        found[str(entry.relative_to(path))] = (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, content)
    return found
