# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What playbooks/snapshots.yml shows. Its module, which needs a host with backups, is replaced."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
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


def snapshots(folder: Path, *names: str) -> tuple[int, str]:
    (play,) = yaml.safe_load((ROOT / "playbooks" / "snapshots.yml").read_text())
    read, listed, *others = play["tasks"]
    there: dict[str, Any] = {read["register"]: {"instances": {name: {} for name in names}}}
    tasks = [
        {"name": read["name"], "ansible.builtin.set_fact": there},
        {key.replace("carrel.jupyter.instance_snapshots", "stand_in"): value for key, value in listed.items()},
        *others,
    ]
    (folder / "library").mkdir(exist_ok=True)
    (folder / "library" / "stand_in.py").write_text(MODULE, encoding="utf-8")
    playbook = folder / "snapshots.yml"
    playbook.write_text(yaml.safe_dump([{**play, "tasks": tasks}]), encoding="utf-8")
    done = run(folder, {"h1": HERE}, playbook)
    return done.returncode, " ".join((done.stdout + done.stderr).split())


def test_a_repository_that_cannot_be_read_hides_no_others(tmp_path: Path) -> None:
    code, said = snapshots(tmp_path, "bad1", "bad2", "geo", "none")
    assert code == 2 and "geogeoge 2030-01-10T12:00 whole" in said
    end = said.partition("TASK [Fail if snapshots could not be read]")[2]
    assert "snapshots of bad1 could not be read: no repository; snapshots of bad2 could not" in end


def test_good_repositories_are_a_good_run(tmp_path: Path) -> None:
    for names in ((), ("geo", "none")):
        code, said = snapshots(tmp_path, *names)
        assert code == 0 and ("geogeoge" in said) is bool(names)
