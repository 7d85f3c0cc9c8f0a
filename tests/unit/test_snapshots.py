# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What playbooks/snapshots.yml shows, with a stand-in for its module, and the module with one for carrel-backup."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args
from ansible_collections.carrel.jupyter.plugins.module_utils._host import programs
from ansible_collections.carrel.jupyter.plugins.modules import instance_snapshots
from test_plan_action import HERE, ROOT, run

MODULE = """
from ansible.module_utils.basic import AnsibleModule

module = AnsibleModule(argument_spec={"name": {"type": "str"}})
name = module.params["name"]
if name.startswith("bad"):
    module.fail_json(msg=f"snapshots of {name} could not be read: no repository")
if name == "none":
    module.exit_json(snapshots=[], skipped=True)
module.exit_json(snapshots=[{
    "id": name * 8, "time": "2030-01-10T12:00:00Z", "of": "whole", "on": "h1", "files": 1, "files_new": 1,
    "files_changed": 0, "bytes": 1, "added_bytes": 1,
}])
"""


def snapshots(folder: Path, *names: str, only: str = "") -> tuple[int, str]:
    (play,) = yaml.safe_load((ROOT / "playbooks" / "snapshots.yml").read_text())
    read, refused, listed, *others = play["tasks"]
    there: dict[str, Any] = {read["register"]: {"instances": {name: {} for name in names}}}
    tasks = [
        {"name": read["name"], "ansible.builtin.set_fact": there},
        refused,
        {key.replace("carrel.jupyter.instance_snapshots", "stand_in"): value for key, value in listed.items()},
        *others,
    ]
    (folder / "library").mkdir(exist_ok=True)
    (folder / "library" / "stand_in.py").write_text(MODULE, encoding="utf-8")
    playbook = folder / "snapshots.yml"
    playbook.write_text(yaml.safe_dump([{**play, "tasks": tasks}]), encoding="utf-8")
    done = run(folder, {"h1": HERE}, playbook, *(["-e", f"jupyter_instances_only='{only}'"] if only else []))
    return done.returncode, " ".join((done.stdout + done.stderr).split())


def test_a_repository_that_cannot_be_read_hides_no_others(tmp_path: Path) -> None:
    code, said = snapshots(tmp_path, "bad1", "bad2", "geo", "none")
    assert code == 2 and "geogeoge 2030-01-10T12:00 whole" in said
    end = said.partition("TASK [Fail if snapshots could not be read]")[2]
    assert "snapshots of bad1 could not be read: no repository; snapshots of bad2 could not" in end


def test_a_name_that_no_host_has_is_refused(tmp_path: Path) -> None:
    code, said = snapshots(tmp_path, "geo", "tao", only="geo, toa")
    assert code and "no instance is called 'toa' (did you mean tao?)" in said and "geogeoge" not in said
    code, said = snapshots(tmp_path, "geo", "tao", only="geo,")
    assert not code and "geogeoge" in said and "taotaota" not in said


def test_good_repositories_are_a_good_run(tmp_path: Path) -> None:
    for names in ((), ("geo", "none")):
        code, said = snapshots(tmp_path, *names)
        assert code == 0 and ("geogeoge" in said) is bool(names)


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run the module, with a program that does what a script says."""
    program = tmp_path / "carrel-backup"
    (tmp_path / "tao.json").write_text("{}")
    monkeypatch.setattr(instance_snapshots.decide, "PROGRAM", str(program))
    monkeypatch.setattr(instance_snapshots.decide, "SETTINGS", f"{tmp_path}/{{}}.json")

    def answer(script: str) -> dict[str, Any]:
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        with patch_module_args({"name": "tao"}), pytest.raises(SystemExit):
            instance_snapshots.main()
        said: dict[str, Any] = json.loads(capsys.readouterr().out)
        return said

    return answer


def test_the_module_returns_what_the_program_lists(ask: Any) -> None:
    assert ask('[ "$*" = "snapshots tao --json" ] && echo \'[{"id": "3cf1"}]\'')["snapshots"] == [{"id": "3cf1"}]


def test_the_module_says_why_the_program_failed(ask: Any) -> None:
    assert ask("echo 'no \033[2Jrepository' >&2; exit 1")["msg"] == "snapshots of tao could not be read: no repository"
    assert ask("exit 3")["msg"].endswith("could not be read: carrel-backup ended with exit code 3")
    assert "could not be read: carrel-backup printed no JSON" in ask("echo '{'")["msg"]


def test_the_module_waits_and_reads_no_longer_than_its_limits(ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "LONGEST", 2**20)
    assert "printed more than 1048576 bytes and was killed" in ask("exec cat /dev/zero")["msg"]
    monkeypatch.setattr(instance_snapshots, "SECONDS", 1)
    began = time.monotonic()
    assert "did not end within 1 s and was killed" in ask("sleep 60")["msg"]
    assert time.monotonic() - began < 30
