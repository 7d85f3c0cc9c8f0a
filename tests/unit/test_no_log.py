# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""No module shows a secret: not in what it answers, which -vvv prints, and not in what it hands to the system's log.

Only the log itself is stood in for, because this machine need not have one.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.common.parameters import PASS_VARS
from ansible_collections.carrel.jupyter.plugins.module_utils._images import declared

from testbed.secrets import MARK, SECRETS

ROOT = Path(__file__).resolve().parents[2]
# ansible-core 2.21 returns a module's parameters only when told to; versions before refuse to be told.
PRIVATE: dict[str, Any] = {"_ansible_diff": True, "_ansible_verbosity": 3}
if "inject_invocation" in PASS_VARS:
    PRIVATE["_ansible_inject_invocation"] = True

# Each run has a process of its own, but Ansible's code and the module's are read once for all of them.
CODE = """
import importlib, json, os, runpy, sys, syslog
from ansible.module_utils import basic
from ansible.module_utils.testing import patch_module_args
basic.has_journal = False
syslog.openlog = lambda *given: None
syslog.syslog = lambda *given: print(given[-1], file=sys.stderr)
module = "ansible_collections.carrel.jupyter.plugins.modules." + sys.argv[1]
importlib.import_module(module)
del sys.modules[module]
for arguments in json.load(sys.stdin):
    child = os.fork()
    if not child:
        with patch_module_args(arguments):
            runpy.run_module(module, run_name="__main__")
        sys.exit("the module does not exit")
    os.waitpid(child, 0)
    for stream in (sys.stdout, sys.stderr):
        print("END", file=stream, flush=True)
"""
OWNER = {"owner": 0, "group": 0}


def cases(folder: Path, secret: str) -> dict[str, list[dict[str, Any]]]:
    env = f"{folder}/.env"
    (folder / "hub").mkdir(exist_ok=True)
    hub = {"name": "class", "directory": str(folder), "roster": '{"users": {}}', **OWNER}
    mounts = json.dumps({"everyone": [], "groups": {}})
    config = {"path": f"{folder}/server.json", "token_file": f"{folder}/token", **OWNER}
    return {
        "install_files": [
            {"files": [{"path": env, "mode": "0600"}], "secret_contents": {env: secret}},
            {"files": [{"path": env, "content": "x"}], "secret_contents": {env: secret}},
            {"files": [{"path": "/dev/null/x"}], "secret_contents": {"/dev/null/x": secret}},
        ],
        "hub_secrets": [
            {"directory": str(folder), **OWNER, "client_secret": secret, "passwords": {"ada": secret}},
            {"directory": str(folder), **OWNER, "dummy_password": secret},
            {"directory": "/dev/null/x", **OWNER, "dummy_password": secret},
        ],
        "hub_access": [{"hubs": [{**hub, "mounts": mounts}], "passwords": {"class": {"ada": secret}}}],
        "instance_drift": [
            {
                "labs": json.dumps(
                    [{"name": "tao", "state": state, "engine": "tao", "password": secret, "image": secret}]
                )
            }
            for state in ("present", "held", "neither")
        ],
        "image_drift": [
            {
                "jobs": json.dumps([{"engine": "tao", "images": [{**image, **more}]}]),
                "engines": {"tao": {"running": True, "socket": "/nowhere"}},
                "cache": f"{folder}/examined.json",
            }
            for image in [declared.completed({"name": "s", "base": "debian", "build_args": {"TOKEN": secret}})]
            for more in ({}, {"build_args": {"TOKEN": [secret]}}, {"files": secret})
        ],
        "image_build": [
            {"images": json.dumps([{"name": "s", "base": "debian", **more}]), "socket": "/nowhere"}
            for more in (
                {"build_args": {"TOKEN": secret}},
                {"build_args": {"TOKEN": [secret]}},
                {"files": secret},
                {"files": [secret]},
                {"labels": {"token": [secret]}, "unknown": secret},
            )
        ],
        "instance_move": [{"step": "undo", "password": secret}],
        "server_config": [{**config, "password": secret}, {**config, "token": secret}],
    }


MODULES = [
    "hub_access",
    "hub_secrets",
    "image_build",
    "image_drift",
    "install_files",
    "instance_drift",
    "instance_move",
    "server_config",
]


def run(module: str, *runs: dict[str, Any]) -> list[tuple[str, str]]:
    """What each run answered and what it logged."""
    done = subprocess.run(
        [sys.executable, "-c", CODE, module],
        input=json.dumps(runs),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    answers, logs = (text.split("END\n")[:-1] for text in (done.stdout, done.stderr))
    assert len(answers) == len(logs) == len(runs), done
    return list(zip(answers, logs))


@pytest.mark.parametrize("module", MODULES)
def test_a_secret_is_in_no_answer_and_in_no_log(tmp_path: Path, module: str) -> None:
    runs = {}
    for kind, secret in SECRETS.items():
        (tmp_path / kind).mkdir()
        for number, arguments in enumerate(cases(tmp_path / kind, secret)[module]):
            runs[kind, number] = {**arguments, **PRIVATE}
    for which, (answer, log) in zip(runs, run(module, *runs.values())):
        assert "Invoked with" in log, "the module logs its parameters"
        assert "invocation" in json.loads(answer) and "deprecations" not in json.loads(answer), which
        assert MARK not in answer and MARK not in log, which


def test_what_nobody_gave_masks_nothing() -> None:
    """Ansible masks the values of such options wherever they are in an answer."""
    gone = {"name": "a[]b", "state": "absent", "directory": "/nowhere", "token_file": None}
    ((answer, _log),) = run("instance_drift", {"labs": json.dumps([gone])})
    assert json.loads(answer)["as_declared"] == ["a[]b"]


def test_every_module_that_takes_a_secret_is_tried() -> None:
    texts = {path.stem: path.read_text() for path in (ROOT / "plugins" / "modules").glob("*.py")}
    assert {name for name, text in texts.items() if '"no_log": True' in text} == set(MODULES)
    nested = [name for name, text in texts.items() if re.search(r'^ {20,}.*"no_log": True', text, re.MULTILINE)]
    assert nested == [], "in a list or a dictionary no_log is not enough"


def options(spec: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    for name, option in spec.items():
        yield f"{path}{name}", option
        yield from options(option.get("options", {}), f"{path}{name}.")


def test_roles_do_not_log_the_secrets_that_they_are_given() -> None:
    found = {}
    for file in (ROOT / "roles").glob("*/meta/argument_specs.yml"):
        found |= dict(options(yaml.safe_load(file.read_text())["argument_specs"]["main"]["options"]))
    secret = {path for path in found if path.rpartition(".")[2] in ("password", "token", "environment")}
    assert {"backup_jobs.backup.password", "backup_jobs.backup.environment", "lab_instances.token"} <= secret
    assert [path for path in sorted(secret) if not found[path].get("no_log")] == []


def test_tasks_that_pass_secrets_to_other_modules_are_not_logged() -> None:
    secret = ("password", "token", "secret", "build.args", "build_args")
    tasks = [task for file in (ROOT / "roles").glob("*/tasks/*.yml") for task in yaml.safe_load(file.read_text()) or []]
    found = []
    for task in tasks + [inner for outer in tasks for inner in outer.get("block", [])]:
        for action, arguments in task.items():
            if action.startswith("community.docker.") and any(word in json.dumps(arguments) for word in secret):
                found.append(task)
    assert {task["name"] for task in found} == {"Build | Build the image", "Log in to the registries"}
    assert all(task.get("no_log") for task in found)
    builds = [task for task in found if task["name"].startswith("Build")]
    assert len(builds) == 2, "of labs and of hubs"
    assert all(task["failed_when"] is False and "register" in task for task in builds), "the next task says why"
