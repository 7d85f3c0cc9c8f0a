# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How site.yml reports failures. Roles, which need a host, are replaced by a line or a failure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.carrel.jupyter.plugins.module_utils._images import log as LOG
from ansible_collections.carrel.jupyter.plugins.module_utils._report import failures as _failures
from plan_helpers import good, hub, lab
from test_plan_action import HERE, ROOT, run

STEPS = {
    "Update access to the hubs": "access", "Set up the engines": "engines", "Set up Apache": "apache",
    "Set up the resets": "resets", "Set up the labs": "labs", "Set up the hubs": "hubs",
    "Stop engines without instances": "idle", "Free the ports that instances have left": "ports",
}  # fmt: skip

# As docker 28 and docker-py 7 say it.
NO_DAEMON = (
    "docker: Cannot connect to the Docker daemon at unix:///run/carrel/engines/run-user-1001/docker.sock. "
    "Is the docker daemon running?"
)
NO_API = (
    "Error connecting: Error while fetching server API version: ('Connection aborted.', "
    "OSError(40, 'Too many levels of symbolic links'))"
)


PRIVATE = (
    "Error pulling image r.example.org/lab:1 - 500 Server Error for http+docker://localhost/images/create: Internal"
    ' Server Error ("Head "https://r.example.org/v2/lab/manifests/1": no basic auth credentials")'
)
IN_IMAGE_BUILD = LOG.explain_transfer("pulling", "r.example.org/lab:1", "no basic auth credentials")


def reserving(task: dict[str, Any], broken: set[str]) -> dict[str, Any]:
    assert task["ansible.builtin.include_role"]["tasks_from"] == "ports.yml"
    said = {"msg": "{{ 'reservation broke' if broken else 'RESERVED ' ~ rootless_docker_ports }}"}
    action = "ansible.builtin.fail" if "reservation" in broken else "ansible.builtin.debug"
    variables = {**task["vars"], "broken": "reservation" in broken}
    return {"name": task["name"], action: said, "vars": variables, "when": task["when"], "tags": task["tags"]}


def stand_in(task: dict[str, Any], broken: set[str], running: bool) -> dict[str, Any]:
    """The task with its block's roles replaced, and what a module would read from this machine."""
    if "block" not in task:
        return task
    answer: dict[str, Any] = {"engines": {"tao": {"running": running}}}
    rescue = [
        {"name": step["name"], "ansible.builtin.set_fact": {step["register"]: answer}, "tags": step["tags"]}
        if "register" in step
        else step
        for step in task.get("rescue", [])
    ]
    reservations = [reserving(each, broken) for each in task["block"] if "Reserve" in each["name"]]
    name = task["block"][len(reservations)]["name"]
    if name not in STEPS:
        return task
    step = STEPS[name]
    # What the role's own reservation registers.
    reserved: dict[str, Any] = {"__rootless_docker_reserved": {"open_ports": []}} if step == "engines" else {}
    done: list[dict[str, Any]] = [
        {"name": "Register", "ansible.builtin.set_fact": {"unused": "", **reserved}},
        {"name": name, "ansible.builtin.debug": {"msg": f"{step.upper()} RAN"}},
    ]
    failing: dict[str, Any] = {"name": name, "ansible.builtin.fail": {"msg": f"{step} broke"}}
    return {**task, "block": [*reservations, *([failing] if step in broken else done)], "rescue": rescue}


def site(folder: Path, *broken: str, running: bool = True) -> Path:
    play = next(play for play in yaml.safe_load((ROOT / "playbooks" / "site.yml").read_text()) if "serial" in play)
    left = [{"account": "tao", "ports": [8801]}]
    plan = {**good([lab(), hub()]), "idle_engines": [{"name": "old"}], "engine_ports": left}
    tasks = [stand_in(task, set(broken), running) for task in play["tasks"]]
    # or a role would set up this machine
    assert sum(task != old for task, old in zip(tasks, play["tasks"])) == len(STEPS)
    variables = {**play["vars"], "__jupyter": {"plan": plan}}
    playbook = folder / "site.yml"
    playbook.write_text(json.dumps([{"hosts": "all", "gather_facts": False, "vars": variables, "tasks": tasks}]))
    return playbook


@pytest.mark.parametrize("broken", [("access",), ("apache", "labs"), ("engines", "resets", "hubs")])
def test_a_failure_does_not_stop_other_parts(tmp_path: Path, broken: tuple[str, ...]) -> None:
    done = run(tmp_path, {"h1": HERE}, site(tmp_path, *broken))
    assert done.returncode == 2, done.stdout + done.stderr
    ran = {step for step in STEPS.values() if f"{step.upper()} RAN" in done.stdout}
    # an instance that could not be removed needs its engine, and one that could not be moved its port
    assert ran == set(STEPS.values()) - set(broken) - {"idle", "ports"}
    report = done.stdout[done.stdout.index("Report all that failed") :]
    assert "h1 is not as declared" in report and all(f"{step} broke" in report for step in broken)


def test_a_run_without_a_failure_reports_none(tmp_path: Path) -> None:
    done = run(tmp_path, {"h1": HERE}, site(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert all(f"{step.upper()} RAN" in done.stdout for step in STEPS.values())
    assert "RESERVED [" not in done.stdout, "the engines' role has done it"


def test_a_host_without_a_running_engine_is_not_changed(tmp_path: Path) -> None:
    done = run(tmp_path, {"h1": HERE}, site(tmp_path, "engines", running=False))
    assert done.returncode == 2
    assert "engines broke" in done.stdout and "APACHE RAN" not in done.stdout


def test_apache_forwards_to_no_port_that_is_not_reserved(tmp_path: Path) -> None:
    """Otherwise any account could answer there, behind the instance's certificate."""
    done = run(tmp_path, {"h1": HERE}, site(tmp_path, "engines"))
    assert 0 < done.stdout.index("RESERVED [") < done.stdout.index("APACHE RAN"), done.stdout
    assert "engines broke" in done.stdout[done.stdout.index("Report all that failed") :]
    done = run(tmp_path, {"h1": HERE}, site(tmp_path), "--tags", "apache_configure")
    assert "RESERVED [" in done.stdout, done.stdout
    done = run(tmp_path, {"h1": HERE}, site(tmp_path, "engines", "reservation"))
    assert done.returncode == 2 and "reservation broke" in done.stdout and "APACHE RAN" not in done.stdout


@pytest.mark.parametrize(
    ("result", "text"),
    [
        ({"msg": " no such image \n"}, "no such image"),
        ({}, _failures.NO_MESSAGE),
        (
            {"msg": "One or more items failed", "results": [{"msg": "fine"}, {"failed": True, "msg": "a: gone"}]},
            "a: gone",
        ),
        ({"msg": "All items failed", "results": [{"failed": True, "msg": "x"}, {"failed": True, "msg": "x"}]}, "x"),
        ({"msg": "said", "results": []}, "said"),
        ({"msg": "\x1b[31mred\x1b]0;title\x07\r\u202e\nmore"}, "red?]0;title???\nmore"),
        ({"msg": "Timed out.", "timedout": {"period": 5}}, f"Timed out.\n{_failures.TIMED_OUT}"),
        ({"msg": NO_API}, f"{NO_API}\n{_failures.SOCKET.format('UID')}"),
        ({"msg": NO_DAEMON}, f"{NO_DAEMON}\n{_failures.SOCKET.format('1001')}"),
        ({"msg": PRIVATE}, f"{PRIVATE}\n{_failures.LOG_IN}"),
        ({"msg": IN_IMAGE_BUILD}, IN_IMAGE_BUILD),
        ({"msg": "Permission denied: '/srv'"}, "Permission denied: '/srv'"),
    ],
)
def test_the_message_is_that_of_the_task_or_its_items(result: dict[str, Any], text: str) -> None:
    assert _failures.message(result) == text


@pytest.mark.parametrize(
    ("result", "text"),
    [
        ({"rc": 1, "stdout": "", "stderr": "\x1b[1mno\x1b[0m such file\n", "msg": "failed"}, "no such file"),
        ({"rc": 1, "stdout": "another address", "stderr": "noise"}, "another address"),
        ({"msg": "Timed out."}, "Timed out."),
        ({"rc": 125, "stdout": "", "stderr": NO_DAEMON}, f"{NO_DAEMON}\n{_failures.SOCKET.format('1001')}"),
        ({"msg": NO_DAEMON}, f"{NO_DAEMON}\n{_failures.SOCKET.format('1001')}"),
    ],
)
def test_the_last_words_are_what_the_program_printed(result: dict[str, Any], text: str) -> None:
    assert _failures.last_words(result) == text
    assert _failures.message({"msg": text}) == text  # nothing is said twice when a role reports it


def test_a_failed_build_says_why() -> None:
    failed = {"msg": "Building carrel/tao:1 failed", "failed": False, "stdout": ""}
    log = "#5 [2/2] RUN apt-get install x\n#5 0.312 E: Unable to locate package \x1b]x\n------\n > [2/2]\n------\n"
    said = _failures.build({**failed, "stderr": log}, {})
    assert said.startswith("there is no package ?]x; correct its name or version. The log ends with:")
    assert "E: Unable to locate" in said and "[2/2]" not in said.splitlines()[-1]
    assert _failures.build({**failed, "stderr": "#2 ERROR: pull access denied, denied"}, {}).endswith(_failures.LOG_IN)
    printed = {**failed, "stderr": "#4 0.2 + curl https://x/?key=t0ken-long&k=t0ken\n#4 ERROR: exit code: 1"}
    shown = _failures.build(printed, {"A": "t0ken", "B": "t0ken-long", "C": ""})
    assert "key=********&k=********" in shown and "t0ken" not in shown
    base = f"image stat could not be built: it failed. {LOG.explain_base('#2 ERROR: pull access denied')}"
    assert _failures.message({"msg": base}).endswith("image_registries an entry for it.")
    assert not LOG.explain_base("E: Permission denied: '/x'")
    assert (
        _failures.build({"msg": '"Dockerfile" is not an existing file'}, {}) == '"Dockerfile" is not an existing file'
    )


def test_a_report_names_instance_step_and_cause_and_claims_nothing_of_others() -> None:
    failures = [{"name": "tao", "task": "Image | Pull it", "message": "not found\nask the registry"}]
    labs = _failures.instances("lab", "h1", 3, failures)
    assert labs == (
        "1 of 3 instances of kind lab on h1 failed:\n\ntao: Image | Pull it\n  not found\n  ask the registry"
    )
    image = {"instances": ["geo", "one"], "name": "maps", "error": "apt failed"}
    whole = _failures.site(
        "h1",
        [
            {"task": "Apply the virtual hosts", "message": "no certificate"},
            {"task": "Whatever the role calls it", "message": labs},
            {"task": "Report missing engines", "message": "tao: the engine is not on this host"},
        ],
        [image],
    )
    assert whole.startswith("h1 is not as declared")
    assert "geo, one: unchanged, because there is no image maps\n  apt failed\n\n" in whole
    assert f"Apply the virtual hosts\n  no certificate\n\n{labs}\n\nReport missing engines\n  tao: the" in whole
    assert _failures.site("h1", [], []) == ""
