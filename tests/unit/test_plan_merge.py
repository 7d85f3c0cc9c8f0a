# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Instances of a host from several lists of its groups."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.plan import Inputs, make_plan
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.problems import Problems
from plan_helpers import Control, lab
from test_plan_action import HERE, run

GIB = 1 << 30


def planned(own: Any, **groups: Any) -> tuple[Any, list[tuple[str, str]]]:
    """The labs by name, and the problems with their paths."""
    problems = Problems()
    lists = {f"jupyter_instances_{name}": items for name, items in groups.items()}
    plan = make_plan(Inputs(instances=own, groups=lists), Control(), problems)
    labs = plan and {item["name"]: item for item in plan["lab_instances"]}
    return labs, [(problem.path, problem.id) for problem in problems.items]


def test_lists_add_up() -> None:
    labs, problems = planned(
        [lab()], b=[lab(name="geo", url="https://geo.example.org")], a=[lab(name="art", url="https://art.example.org")]
    )
    assert problems == [] and list(labs) == ["tao", "art", "geo"]


def test_groups_alone_are_enough() -> None:
    assert list(planned(None, course=[lab()])[0]) == ["tao"]


def test_keys_of_one_name_add_up_and_the_hosts_own_win() -> None:
    labs, problems = planned([{"name": "tao", "memory": "2G"}], course=[lab(memory="1G", cpus=2)])
    assert problems == []
    assert (labs["tao"]["limits"]["memory"], labs["tao"]["limits"]["cpus"]) == (2 * GIB, 2)


def test_groups_that_agree_are_no_problem() -> None:
    labs, problems = planned(None, a=[lab(cpus=2)], b=[lab(memory="1G")])
    assert problems == [] and (labs["tao"]["limits"]["cpus"], labs["tao"]["limits"]["memory"]) == (2, GIB)


def test_groups_that_differ_are_named() -> None:
    assert planned(None, a=[lab(cpus=2)], b=[lab(cpus=3)])[1] == [
        ("jupyter_instances_b[0] (tao).cpus", "merge_differs")
    ]
    # unless the host itself says what counts
    labs, problems = planned([{"name": "tao", "cpus": 4}], a=[lab(cpus=2)], b=[lab(cpus=3)])
    assert problems == [] and labs["tao"]["limits"]["cpus"] == 4
    # and not when it speaks of something else
    assert planned([{"name": "tao", "memory": "2G"}], a=[lab(cpus=2)], b=[lab(cpus=3)])[1] == [
        ("jupyter_instances_b[0] (tao).cpus", "merge_differs")
    ]


@pytest.mark.parametrize(
    ("own", "groups", "path", "message"),
    [
        (None, {"a": {"name": "tao"}}, "jupyter_instances_a", "wrong_type"),
        (None, {"a": ["tao"]}, "jupyter_instances_a[0]", "wrong_type"),
        (None, {"a": [lab(memry="1G")]}, "jupyter_instances_a[0] (tao).memry", "unknown_key"),
        (None, {"a": [lab(), lab(url="https://b.example.org")]}, "jupyter_instances_a[1] (tao).name", "name_twice"),
        ([{"name": "tao"}], {"a": [lab(), lab()]}, "jupyter_instances_a[1] (tao).name", "name_twice"),
        ([lab(), lab(url="https://b.example.org")], {}, "jupyter_instances[1] (tao).name", "name_twice"),
    ],
)
def test_problems_in_a_groups_list_have_its_name(own: Any, groups: dict[str, Any], path: str, message: str) -> None:
    assert (path, message) in planned(own, **groups)[1]


PROBE = """
- hosts: all
  gather_facts: false
  tasks:
    - carrel.jupyter.plan:
      register: planned
    - ansible.builtin.debug:
        msg: "{{ planned.plan.summary }}"
"""
SCRIPT = """#!{python}
import json, sys
print(json.dumps({inventory!r}))
"""


def test_groups_of_an_inventory_that_a_program_makes(tmp_path: Path) -> None:
    """Two groups give a host its labs; one is misspelt in a way that names its list."""
    common = {key: item for key, item in lab().items() if key != "url"}
    inventory: dict[str, Any] = {
        "_meta": {"hostvars": {"h1": {**HERE, "jupyter_instances": [{"name": "tao", "memory": "2G"}]}}},
        "labs": {"hosts": ["h1"], "vars": {"jupyter_instances_labs": [common], "site": "uni.example"}},
        "courses": {
            "hosts": ["h1"],
            "vars": {"jupyter_instances_courses": [{"name": "tao", "url": "https://tao.{{ site }}/"}]},
        },
    }
    script = tmp_path / "inventory.py"
    script.write_text(SCRIPT.format(python=sys.executable, inventory=inventory))
    script.chmod(0o755)
    (tmp_path / "probe.yml").write_text(PROBE)
    done = run(tmp_path, {}, tmp_path / "probe.yml", "-i", str(script))
    said = " ".join(done.stdout.split())
    assert done.returncode == 0, done.stdout
    assert "tao: present; https://tao.uni.example/; image registry.example.org/lab:1.0" in said
    assert "limits 2G of memory" in said and "no effect" not in done.stdout + done.stderr


def test_the_campus_is_planned(tmp_path: Path) -> None:
    """inventories/campus as its files are, with directories of group_vars and host_vars."""
    campus = Path(__file__).parents[2] / "inventories" / "campus"
    playbook = tmp_path / "probe.yml"
    playbook.write_text(yaml.safe_dump([{
        "hosts": "all", "gather_facts": False, "tasks": [
            {"carrel.jupyter.plan": None, "register": "planned"},
            {"ansible.builtin.copy": {
                "content": "{{ {'instances': planned.plan.summary, 'warnings': planned.plan.warnings} }}",
                "dest": f"{tmp_path}/{{{{ inventory_hostname }}}}.json"},
             "delegate_to": "localhost"},
        ],
    }]))  # fmt: skip
    done = run(tmp_path, {}, playbook, "-i", str(campus / "hosts.yml"))
    assert done.returncode == 0, done.stdout
    found = {path.stem: json.loads(path.read_text()) for path in tmp_path.glob("*.json")}
    assert len(found) == 3 and sum(len(plan["instances"]) for plan in found.values()) == 12
    assert [plan["warnings"] for plan in found.values()] == [[], [], []]
    (library,) = [line for line in found["lab1.uni.example"]["instances"] if line.startswith("library: ")]
    assert "32G of memory" in library
