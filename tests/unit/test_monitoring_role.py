# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which settings the role monitoring refuses before it changes anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from test_plan_action import HERE, run

ROLE = Path(__file__).resolve().parents[2] / "roles" / "monitoring"
DEBIAN = """\
# Set the command-line arguments to pass to the server.
ARGS=""

# Prometheus-node-exporter supports the following options:
#  --web.listen-address=":9100"
"""
OURS = '# Written by Ansible, carrel.jupyter.monitoring.\nARGS="--web.listen-address=10.0.0.5:9100"\n'
CASES: list[tuple[str | None, dict[str, Any], str]] = [
    (None, {}, ""),
    (DEBIAN, {}, ""),
    (OURS, {"monitoring_interval_seconds": 300, "monitoring_disk_interval_seconds": "10800"}, ""),
    (DEBIAN.replace('""', '"--collector.systemd"'), {}, "would lose: ARGS="),
    (f"{DEBIAN}GOGC=50\n", {}, "would lose: GOGC=50"),
    (None, {"monitoring_interval_seconds": 301}, "monitoring_interval_seconds: 301"),
    (None, {"monitoring_disk_interval_seconds": "86400"}, "monitoring_disk_interval_seconds: 86400"),
    (
        None,
        {"monitoring_arguments": ["--no-collector.wifi", "--collector.netdev.device-exclude=^(veth|br-)[0-9]+$"]},
        "",
    ),
    (None, {"monitoring_arguments": ["--no-collector.wifi --collector.systemd"]}, "neither blanks"),
    (None, {"monitoring_arguments": ["--a=\\d"]}, "neither blanks"),
    (None, {"monitoring_arguments": ["--a='x'"]}, "neither blanks"),
    (None, {"monitoring_arguments": ['--a="x"']}, "neither blanks"),
    (None, {"monitoring_arguments": ["--ok", "version"]}, "monitoring_arguments: version: "),
]


def test_settings_are_refused_before_anything_is_lost(tmp_path: Path) -> None:
    defaults = yaml.safe_load((ROLE / "defaults/main.yml").read_text())
    hosts = {}
    for number, (content, variables, wanted) in enumerate(CASES):
        file = tmp_path / f"defaults{number}"
        if content is not None:
            file.write_text(content, encoding="utf-8")
        hosts[f"h{number:02}"] = {**HERE, **defaults, **variables, "file": str(file), "wanted": wanted}
    probe = {
        "hosts": "all",
        "gather_facts": False,
        "vars_files": [str(ROLE / "vars/main.yml")],
        "tasks": [
            {
                "block": [
                    {
                        "ansible.builtin.include_tasks": str(ROLE / "tasks/check.yml"),
                        "vars": {"__monitoring_defaults": "{{ file }}"},
                    },
                    {"ansible.builtin.assert": {"that": "wanted == ''"}},
                ],
                "rescue": [
                    {"ansible.builtin.assert": {"that": ["wanted | length > 0", "wanted in ansible_failed_result.msg"]}}
                ],
            }
        ],
    }
    (tmp_path / "probe.yml").write_text(yaml.safe_dump([probe]), encoding="utf-8")
    done = run(tmp_path, hosts, tmp_path / "probe.yml")
    assert done.returncode == 0, done.stdout + done.stderr
