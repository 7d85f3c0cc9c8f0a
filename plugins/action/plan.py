# Copyright: the carrel.jupyter authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the variables of a host, let _plan decide, and never show a secret."""

from __future__ import annotations

import functools
import os
import zoneinfo
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from ansible.errors import AnsibleAction
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.nearest import nearest
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.plan import Inputs, make_plan
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.problems import Problems
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.schema import INVALID
from ansible_collections.carrel.jupyter.plugins.plugin_utils._rendering import Renderer

VARIABLES = {
    "instances": "jupyter_instances",
    "defaults": "jupyter_defaults",
    "base_dir": "jupyter_base_dir",
    "port_range": "jupyter_port_range",
    "tls": "jupyter_tls",
    "images": "jupyter_images",
    "allow_downgrade": "jupyter_allow_downgrade",
    "backup": "jupyter_backup",
    "rollout": "jupyter_rollout",
}


KERNELS = Path(__file__).parents[2] / "images/kernels"
PREFIX = "jupyter_"
# Read by the playbooks alone.
PLAYBOOKS = (
    "jupyter_hosts", "jupyter_instances_only", "jupyter_purge", "jupyter_reset_pause_seconds", "jupyter_reset_people",
    "jupyter_reset_serial", "jupyter_restore", "jupyter_restore_accept_damaged",
    "jupyter_restore_accept_size", "jupyter_restore_group", "jupyter_restore_image",
    "jupyter_restore_beside", "jupyter_restore_overwrite", "jupyter_restore_path", "jupyter_restore_snapshot",
    "jupyter_restore_stop", "jupyter_restore_user", "jupyter_backup_drill", "jupyter_backup_group",
    "jupyter_backup_user", "jupyter_status_address", "jupyter_status_disk", "jupyter_status_html",
    "jupyter_status_strict",
    "jupyter_z2jh_directory", "jupyter_move_address", "jupyter_move_instance", "jupyter_move_to",
    "jupyter_adopt_directory", "jupyter_adopted", "jupyter_takeover", "jupyter_takeover_back",
)  # fmt: skip
# Lists of instances that groups of hosts add: the name of each begins so.
GROUPS = "jupyter_instances_"
KNOWN = [name.removeprefix(PREFIX) for name in (*VARIABLES.values(), *PLAYBOOKS)]


def _is_group(name: str) -> bool:
    return name.startswith(GROUPS) and name not in PLAYBOOKS


def misspelt(names: Iterable[str]) -> list[str]:
    """A warning for each variable whose name is almost one of ours."""
    ours = (name.removeprefix(PREFIX) for name in sorted(names) if name.startswith(PREFIX) and not _is_group(name))
    found = [(name, nearest(name, KNOWN)) for name in ours if name not in KNOWN]
    return [f"the variable {PREFIX}{name} has no effect; did you mean {PREFIX}{near}?" for name, near in found if near]


class ControlFiles:
    """The files of the control node; implements _plan.instance.ControlNode."""

    def __init__(self, inventory_dir: str | None) -> None:
        self._base = inventory_dir or os.getcwd()

    def absolute(self, path: str) -> str:
        return os.path.abspath(os.path.join(self._base, os.path.expanduser(path)))

    def is_dir(self, path: str) -> bool:
        return os.path.isdir(path)

    def is_file(self, path: str) -> bool:
        return os.path.isfile(path)

    def read_text(self, path: str) -> str:
        with open(path, encoding="utf-8") as file:
            return file.read()

    def kernels(self) -> Mapping[str, Any]:
        return {file.stem: yaml.safe_load(file.read_text(encoding="utf-8")) for file in KERNELS.glob("*.yml")}

    def timezones(self) -> Mapping[str, str]:
        return timezones()


@functools.cache
def timezones() -> Mapping[str, str]:
    """What a host may lack are older names, which are links (zic(8)) to zones that zone.tab lists."""
    links: dict[str, str] = {}
    current = {"UTC"}
    for folder in map(Path, zoneinfo.TZPATH):
        if (folder / "zone.tab").is_file() and (folder / "tzdata.zi").is_file():
            lines = [line.split() for line in (folder / "tzdata.zi").read_text(encoding="utf-8").splitlines()]
            links = {words[2]: words[1] for words in lines if len(words) == 3 and words[0] == "L"}
            rows = (folder / "zone.tab").read_text(encoding="utf-8").splitlines()
            current |= {row.split("\t")[2] for row in rows if not row.startswith("#")}
            break
    names = zoneinfo.available_timezones() - {"localtime", "Factory"}  # names of no zone
    return {name: name if name in current else links.get(name, name) for name in names}


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _requires_connection = False
    _VALID_ARGS = frozenset((*VARIABLES, "current", "only"))

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        variables = task_vars or {}
        problems = Problems()
        renderer = Renderer(self._templar, variables, problems)
        raw = {
            option: self._task.args[option]
            if self._task.args.get(option) is not None
            else renderer.render(variables.get(name), name)
            for option, name in VARIABLES.items()
        }
        further = [] if self._task.args.get("instances") is not None else filter(_is_group, variables)
        groups = {name: renderer.render(variables[name], name) for name in sorted(further)}
        inputs = Inputs(
            current=self._task.args.get("current"),
            only=self._task.args.get("only"),
            groups=groups,
            kernels=self._of_role("image_kernels", variables),
            pull_from=self._of_role("image_pull_from", variables),
            moving=variables.get("__jupyter_moving"),
            entry=variables.get("jupyter_move_instance"),
            **raw,
        )
        plan = make_plan(inputs, ControlFiles(variables.get("inventory_dir")), problems)
        for line in misspelt(variables):
            Display().warning(line)
        if plan is None:
            count = len(problems.items)
            head = f"{variables.get('inventory_hostname')}: {count} problem{'s' if count > 1 else ''} in its variables"
            # ansible-core shows an error's text and the result's msg; before 2.19 only the text.
            raise AnsibleAction("\n".join([head, *map(str, problems.items)]), result={"changed": False, "msg": head})
        result["changed"] = False
        result["plan"] = plan
        # Callbacks, and so the terminal and the log, get a censored copy; the registered variable stays complete.
        result["_ansible_no_log"] = True
        return result

    def _of_role(self, name: str, variables: Mapping[str, Any]) -> Any:
        """Return a variable of the role image, which reports itself what it can't render. Then this is INVALID."""
        problems = Problems()
        value = Renderer(self._templar, variables, problems).render(variables.get(name), name)
        return INVALID if problems.items else value
