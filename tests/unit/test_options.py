# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The roles give modules the options that the comparison of an instance has, and every one of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.carrel.jupyter.plugins.module_utils._site import hub_options, lab
from test_hub_project import ENGINE, instance
from test_lab import instance as lab_instance
from test_lab import project as lab_project

ROLES = Path(__file__).resolve().parents[2] / "roles"
HUB = [instance(), ENGINE]
SECRETS = {"password": None, "token": None, "token_file": "/srv/tao/token"}
PEOPLE = {"uid": "uid", "gid": "gid"}
CASES: list[tuple[str, str, str, dict[str, Any], dict[str, str]]] = [
    ("lab/tasks/deploy.yml", "server_config", "__lab_server_options",
     lab.server_options(lab_instance(**SECRETS), ENGINE, lab_project()), {}),
    ("hub/tasks/prepare.yml", "hub_secrets", "__hub_secret_options", hub_options.secrets(*HUB),
     {"passwords": "passwords"}),
    ("hub/tasks/prepare.yml", "user_volumes", "__hub_volume_options", hub_options.volumes(*HUB),
     {**PEOPLE, "users": "users", "directories": "user_directories"}),
    ("hub/tasks/prepare.yml", "group_mounts", "__hub_mount_options", hub_options.mounts(*HUB),
     {**PEOPLE, "users": "members", "user_directories": "user_mounts"}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("file", "module", "variable", "decided", "of_project"), CASES, ids=[case[1] for case in CASES]
)
def test_a_role_passes_on_what_is_decided(
    file: str, module: str, variable: str, decided: dict[str, Any], of_project: dict[str, str]
) -> None:
    tasks = yaml.safe_load((ROLES / file).read_text())
    (given,) = (task[f"carrel.jupyter.{module}"] for task in tasks if f"carrel.jupyter.{module}" in task)
    given.pop("control_time", None)
    assert set(given) == {*decided, *of_project}
    for name in decided:
        omitted = " | default(omit, true)"
        assert given[name].replace(omitted, "") == f"{{{{ {variable}.{name} }}}}"
        assert decided[name] is not None or omitted in given[name], name
    for name, key in of_project.items():
        assert given[name] == f"{{{{ __hub_project.{key} }}}}"
