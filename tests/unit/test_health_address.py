# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the metrics and the status ask for the public URLs of a host."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from test_plan_action import HERE, run

ROOT = Path(__file__).resolve().parents[2]
ROLE = ROOT / "roles" / "monitoring"
CASES: list[tuple[dict[str, Any], str]] = [
    ({}, "127.0.0.1"),
    ({"apache_listen_address": "*"}, "127.0.0.1"),
    ({"apache_listen_address": "0.0.0.0"}, "127.0.0.1"),
    ({"apache_listen_address": "[::]"}, "::1"),
    ({"apache_listen_address": "10.0.0.5"}, "10.0.0.5"),
    ({"apache_listen_address": "[2001:db8::5]"}, "2001:db8::5"),
    ({"apache_listen_address": "10.0.0.5", "hub_health_address": "10.0.0.6"}, "10.0.0.6"),
    ({"lab_health_address": "10.0.0.7", "hub_health_address": "10.0.0.6"}, "10.0.0.7"),
    # another machine's proxy
    ({"apache_listen_address": "10.0.0.5", "hub_wait_for_url": False}, ""),
    ({"lab_wait_for_url": "false"}, ""),
    ({"lab_wait_for_url": False, "monitoring_health_address": "10.0.0.8"}, "10.0.0.8"),
    ({"apache_listen_address": "10.0.0.5", "monitoring_health_address": ""}, ""),
    ({"apache_listen_address": "10.0.0.5", "monitoring_health_address": None}, "10.0.0.5"),
    ({"apache_listen_address": "10.0.0.5", "lab_health_address": None}, "10.0.0.5"),
]


@pytest.mark.parametrize("what", ["metrics", "status"])
def test_apache_is_asked_where_it_listens(tmp_path: Path, what: str) -> None:
    (play,) = yaml.safe_load((ROOT / "playbooks/status.yml").read_text())
    asked = play["tasks"][0]["carrel.jupyter.instance_status"]["connect_to"]
    settings = yaml.safe_load((ROLE / "vars/main.yml").read_text())["__monitoring_settings"]
    expression = {"metrics": settings["health_address"], "status": asked}[what]
    usual = {"monitoring_health_address": None} if what == "metrics" else {}
    own = ({"apache_listen_address": "10.0.0.5", "jupyter_status_address": "10.0.0.9"}, "10.0.0.9")
    cases = [*CASES, own] if what == "status" else CASES
    probe = {
        "hosts": "all",
        "gather_facts": False,
        "vars": play["vars"],
        "vars_files": [str(ROLE / "vars/main.yml")],
        "tasks": [
            {"ansible.builtin.assert": {"that": "__asked == wanted"}, "vars": {"__asked": expression}},
        ],
    }
    (tmp_path / "probe.yml").write_text(yaml.safe_dump([probe]), encoding="utf-8")
    hosts = {
        f"h{number}": {**HERE, **usual, **variables, "wanted": wanted}
        for number, (variables, wanted) in enumerate(cases)
    }
    done = run(tmp_path, hosts, tmp_path / "probe.yml")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("role", ["lab", "hub"])
def test_roles_ask_apache_where_it_listens(tmp_path: Path, role: str) -> None:
    """Otherwise site fails on a host whose Apache has an address of its own."""
    folder = ROOT / "roles" / role
    variables = yaml.safe_load((folder / "vars/main.yml").read_text())[f"__{role}_health_address"]
    probe = {
        "hosts": "all",
        "gather_facts": False,
        "vars": {"__asked": variables, f"{role}_health_address": "{{ own | default(none) }}"},
        "tasks": [{"ansible.builtin.assert": {"that": "__asked == wanted"}}],
    }
    (tmp_path / "probe.yml").write_text(yaml.safe_dump([probe]), encoding="utf-8")
    hosts = {f"h{number}": {**HERE, **given, "wanted": wanted} for number, (given, wanted) in enumerate(CASES[:6])}
    hosts["own"] = {**HERE, "apache_listen_address": "10.0.0.5", "own": "10.0.0.6", "wanted": "10.0.0.6"}
    done = run(tmp_path, hosts, tmp_path / "probe.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert yaml.safe_load((folder / "defaults/main.yml").read_text())[f"{role}_health_address"] is None
