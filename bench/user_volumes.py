# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""user_volumes against ansible.builtin.file in a loop, and group_mounts. As root; needs no host.

All times are those that Ansible itself reports for the task, in one and the same run.
"""

from __future__ import annotations

import datetime
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
USERS = 1000
DIRECTORIES = 2
LOOP = 100  # items of the loop that are measured; the rest is scaled
GROUPS, MEMBERS = 200, 50
UID, GID = 100999, 100099
NAMES = [f"user{number}@uni.example" for number in range(USERS)]


def volumes(base: Path) -> dict[str, Any]:
    return {"path": f"{base}/data/users", "users": [{"name": name} for name in NAMES], "uid": UID, "gid": GID}


def mounts(base: Path) -> dict[str, Any]:
    return {
        "path": f"{base}/data", "file": f"{base}/mounts/mounts.json", "uid": UID, "gid": GID,
        "users": [{"name": name} for name in NAMES],
        "groups": [
            {"name": f"group{group}", "members": [NAMES[(group * 7 + member) % USERS] for member in range(MEMBERS)]}
            for group in range(GROUPS)
        ],
    }  # fmt: skip


def from_file(file: Path, arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a task that takes them as data, as a role takes them from the plan."""
    file.write_text(json.dumps(arguments))
    return {key: f"{{{{ (lookup('ansible.builtin.file', '{file}') | from_json).{key} }}}}" for key in arguments}


def play(tasks: list[dict[str, Any]], folder: Path) -> list[float]:
    """The seconds of each task."""
    playbook = folder / "play.json"
    playbook.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]))
    settings = {
        "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json", "ANSIBLE_PYTHON_INTERPRETER": sys.executable,
        "ANSIBLE_LOCALHOST_WARNING": "false",
    }  # fmt: skip
    command = [Path(sys.executable).parent / "ansible-playbook", "-i", "localhost,", "-c", "local", playbook]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **settings}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stdout[-4000:] + done.stderr)
    answer = json.loads(done.stdout[done.stdout.index("{") :])
    seconds = []
    for task in answer["plays"][0]["tasks"]:
        ends = [datetime.datetime.fromisoformat(task["task"]["duration"][key].rstrip("Z")) for key in ("start", "end")]
        seconds.append((ends[1] - ends[0]).total_seconds())
        print(f"  {task['task']['name']}: {seconds[-1]:.2f} s", file=sys.stderr)
    return seconds


def usage(module: str, arguments: dict[str, Any]) -> dict[str, float]:
    """The most memory and the processor time that the module's process takes, interpreter included."""
    code = (
        "import json, runpy, sys\n"
        "from ansible.module_utils import basic\n"
        "from ansible.module_utils.testing import patch_module_args\n"
        "with patch_module_args(json.load(sys.stdin)):\n"
        f"    runpy.run_module('ansible_collections.carrel.jupyter.plugins.modules.{module}', run_name='__main__')"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin and process.stdout
    process.stdin.write(json.dumps(arguments).encode())
    process.stdin.close()
    answer = json.loads(process.stdout.read())
    _unused, _unused, used = os.wait4(process.pid, 0)
    process.returncode = 0
    if answer.get("failed"):
        raise SystemExit(answer["msg"])
    return {"peak_MiB": round(used.ru_maxrss / 1024, 1), "cpu_seconds": round(used.ru_utime + used.ru_stime, 2)}


def measure() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as scratch:
        return measure_in(Path(scratch))


def measure_in(folder: Path) -> dict[str, Any]:
    loop = {
        "ansible.builtin.file": {
            "path": f"{folder}/loop/{{{{ item }}}}", "state": "directory", "owner": UID, "group": GID, "mode": "0700",
        },
        "loop": [f"user{number // 2}/{('home', 'settings')[number % 2]}" for number in range(LOOP)],
    }  # fmt: skip
    ours = {"carrel.jupyter.user_volumes": from_file(folder / "users.json", volumes(folder))}
    groups = {"carrel.jupyter.group_mounts": from_file(folder / "groups.json", mounts(folder))}
    nothing = {"name": "a task that does nothing", "ansible.builtin.ping": {}}
    tasks = [
        {"name": f"{name}, {when}", **task}
        for name, task in (("loop", loop), ("user_volumes", ours), ("group_mounts", groups))
        for when in ("creating", "unchanged")
    ]
    seconds = play([*tasks, nothing, nothing], folder)
    idle = statistics.mean(seconds[6:])
    made = sum(1 for path in (folder / "data" / "users").glob("*/*") if path.stat().st_uid == UID)
    if made != USERS * DIRECTORIES:
        raise SystemExit(f"user_volumes made {made} directories")
    scale = USERS * DIRECTORIES / LOOP
    results: dict[str, Any] = {}
    for index, when in enumerate(("creating", "unchanged")):
        results[f"user_volumes_{when}"] = {
            "users": USERS, "directories_each": DIRECTORIES, "seconds": round(seconds[2 + index], 2),
            "loop_seconds": round(seconds[index] * scale), "loop_scaled_from_items": LOOP,
            "times_faster": round(seconds[index] * scale / seconds[2 + index]), "goal": "at least 200 times",
        }  # fmt: skip
    results["group_mounts"] = {
        "groups": GROUPS, "members_each": MEMBERS, "users": USERS,
        "creating_seconds": round(seconds[4], 2), "unchanged_seconds": round(seconds[5], 2), "goal": "under 1 s",
        "times_a_task_that_does_nothing": round(seconds[5] / idle, 1),
    }  # fmt: skip
    # What Ansible takes for any task, and what the loop takes for an item, tell how busy the machine was.
    results["task_that_does_nothing_seconds"] = round(idle, 2)
    results["loop_seconds_an_item"] = round(seconds[0] / LOOP, 2)
    fresh = folder / "fresh"
    results["processes"] = {
        "user_volumes": usage("user_volumes", volumes(fresh)),
        "group_mounts": usage("group_mounts", mounts(fresh)),
        "goal": "under 100 MB",
    }
    return results
