#!/usr/bin/python
# Copyright: the carrel.jupyter authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: systemd_units
short_description: Keep systemd units running as their files say
version_added: 0.2.0
author: the carrel.jupyter authors (@carrel)
description:
  - Enables the units and starts them. If systemd has not read their files, it is reloaded. A unit that has run since
    before its files, or those in O(units[].reads), were written, is restarted. If their times are in the future, as
    after a clock was set back, they get the current time then.
  - It asks systemd about this, and not the tasks before it, so it also completes what a run that was killed has begun.
options:
  units:
    description: The units that must run, from now on and after each boot.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the unit, with its type.
        type: str
        required: true
      reads:
        description: Files that it reads only when it starts, besides its unit file and its drop-ins.
        type: list
        elements: path
        default: []
  read:
    description: More units whose files systemd must have read, by names or patterns.
    type: list
    elements: str
    default: []
extends_documentation_fragment:
  - carrel.jupyter.attributes
attributes:
  check_mode:
    support: partial
    details: What earlier tasks of the same run in check mode would write is not seen.
  diff_mode:
    support: full
  idempotent:
    support: full
seealso:
  - module: carrel.jupyter.install_files
"""

EXAMPLES = r"""
- name: Run the node exporter with its settings
  carrel.jupyter.systemd_units:
    units:
      - name: prometheus-node-exporter.service
        reads: [/etc/default/prometheus-node-exporter]
"""

RETURN = r"""
units:
  description: What was done with each unit (C(start), C(restart) or null), or would be in check mode.
  type: dict
  returned: success
  sample: {prometheus-node-exporter.service: restart}
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrel.jupyter.plugins.module_utils._changes.tracker import Tracker
from ansible_collections.carrel.jupyter.plugins.module_utils._engine.units import PROPERTIES, Unit
from ansible_collections.carrel.jupyter.plugins.module_utils._host import file_times
from ansible_collections.carrel.jupyter.plugins.module_utils._host.process import EndlessError, run

SECONDS = 180


class UnitError(Exception):
    """systemctl failed; the text says why."""


def systemctl(*arguments: str) -> str:
    try:
        done = run(["systemctl", *arguments], SECONDS)
    except (EndlessError, OSError) as error:
        raise UnitError(str(error)) from error
    if done.code:
        why = done.errors.strip().rstrip(".")
        raise UnitError(f"systemctl {' '.join(arguments)} failed: {why}")
    return done.output


def settle(module: AnsibleModule, tracker: Tracker) -> dict[str, str | None]:
    """Do what differs; return each unit's step."""

    def act(*arguments: str) -> None:
        if not module.check_mode:
            systemctl(*arguments)

    wanted = {unit["name"]: unit["reads"] for unit in module.params["units"]}
    outdated = systemctl("show", "--property=NeedDaemonReload", "--value", *wanted, *module.params["read"])
    if tracker.note("systemd's settings", "outdated\n" if "yes" in outdated.split() else "current\n", "current\n"):
        act("daemon-reload")
    found = {name: Unit.parse(systemctl("show", f"--property={PROPERTIES}", name)) for name in wanted}
    paths = {name: [*unit.files, *wanted[name]] for name, unit in found.items()}
    steps = {name: unit.step(file_times.youngest(paths[name])) for name, unit in found.items()}
    for name, unit in found.items():
        at_boot = "enabled" if unit.at_boot not in ("", "disabled") else "disabled"
        if tracker.note(f"{name} at boot", f"{at_boot}\n", "enabled\n"):
            act("enable", name)
        step = steps[name]
        if step and tracker.note(name, "stopped\n" if step == "start" else "started\n", f"{step}ed\n"):
            if not module.check_mode:
                file_times.end_future(paths[name])
            act(step, name)
    return steps


def main() -> None:
    unit: dict[str, Any] = {
        "name": {"type": "str", "required": True},
        "reads": {"type": "list", "elements": "path", "default": []},
    }
    module = AnsibleModule(
        argument_spec={
            "units": {"type": "list", "elements": "dict", "required": True, "options": unit},
            "read": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    tracker = Tracker()
    try:
        steps = settle(module, tracker)
    except UnitError as error:
        module.fail_json(msg=f"{error}. `systemctl status UNIT` and `journalctl -u UNIT` say more.")
    module.exit_json(**tracker.result(units=steps))


if __name__ == "__main__":
    main()
