# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the role image on this machine: builds on one host of the inventory, pulls by digest on another."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from ansible_runner import PLAYBOOK

from testbed import images

CERTIFICATES = [path.read_text() for path in images.MACHINE_CERTIFICATES.glob("*.crt")]


def play(folder: Path, variables: dict[str, Any], *options: str) -> tuple[list[dict[str, Any]], str]:
    """Run the role on two hosts, one after the other; return what it says there is, and all that Ansible printed."""
    role = {"name": "Have the images", "ansible.builtin.include_role": {"name": "carrel.jupyter.image"}}
    show = {"name": "Show", "ansible.builtin.debug": {"msg": "RESULT {{ image_results | to_json }}"}}
    common = {"gather_facts": False, "vars": {
        "ansible_connection": "local", "ansible_python_interpreter": sys.executable,
        "image_socket": "/var/run/docker.sock",
        "image_docker_config": str(folder / "docker"), "image_directory": str(folder / "images"),
        "image_extra_ca_certificates": CERTIFICATES, **variables,
    }}  # fmt: skip
    # What the playbooks site and plan ask finds the same, without touching anything.
    names = [build["name"] for build in variables["image_builds"]]
    asked = {"__image_jobs": [{"engine": "here", "images": names}],
             "__image_host": {"engines": {"here": {"running": True, "socket": "/var/run/docker.sock"}}}}  # fmt: skip
    compare = {"name": "Compare", "vars": asked, "ansible.builtin.include_role": {
        "name": "carrel.jupyter.image", "tasks_from": "compare.yml",
    }}  # fmt: skip
    same = "__image_drift.images | map(attribute='image') == image_results.values() | map(attribute='image')"
    check = {"name": "Check that all is as declared", "ansible.builtin.assert": {"that": same}}
    tasks = [role, show, compare, check]
    plays = [
        {"hosts": "builder", **common, "tasks": tasks},
        {"hosts": "other", **common, "tasks": tasks},
    ]
    plays[1] = {**plays[1], "vars": {**common["vars"], "image_pull_from": "builder"}}
    playbook = folder / "play.json"
    playbook.write_text(json.dumps(plays))
    done = subprocess.run(
        [str(PLAYBOOK), "--inventory", "builder,other", *options, str(playbook)], capture_output=True, text=True,
        env={**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0",
             "ANSIBLE_CALLBACK_RESULT_FORMAT": "json"}, check=False,
    )  # fmt: skip
    shown = [line.strip() for line in done.stdout.splitlines() if '"msg": "RESULT ' in line]
    results = [json.loads(json.loads("{" + line + "}")["msg"].removeprefix("RESULT ")) for line in shown]
    return results, done.stdout + done.stderr
