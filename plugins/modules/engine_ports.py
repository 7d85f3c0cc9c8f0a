#!/usr/bin/python
# Copyright: the carrel.jupyter authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: engine_ports
short_description: Reserve TCP ports for the accounts of engines
version_added: 0.1.0
author:
  - the carrel.jupyter authors (@carrel)
description:
  - Lets only the account of an engine bind the engine's ports on this host. Nobody else can take a port while the
    engine is down or starts, and answer instead of the instance.
  - If an account does not exist, nobody can bind its ports.
  - The kernel asks a BPF program at every bind of a stream socket in the host's network namespace; containers are not
    affected. A systemd unit attaches it again at each boot, before programs of accounts other than root start.
  - Tests the rules by trying to bind each port as another account. Warns if that was possible, and if another account
    listens on a port already.
extends_documentation_fragment:
  - carrel.jupyter.attributes
attributes:
  check_mode:
    support: full
    details: For accounts that are not made yet, the diff shows the uid 4294967295, which is nobody's.
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  ports:
    description: The ports of each account. All others are open to everyone.
    type: list
    elements: dict
    required: true
    suboptions:
      account: {description: The account's name., type: str, required: true}
      ports: {description: TCP ports., type: list, elements: int, required: true}
  program:
    description: The text of the program that attaches the rules, C(carrel_ports.py) of the role rootless_docker.
    type: str
    required: true
seealso:
  - module: carrel.jupyter.rootless_docker_engines
  - module: carrel.jupyter.instance_status
"""

EXAMPLES = r"""
- name: Reserve the ports of two labs
  carrel.jupyter.engine_ports:
    ports:
      - {account: ada, ports: [8801, 8802]}
      - {account: grace, ports: [8803, 8804]}
    program: "{{ lookup('ansible.builtin.file', 'carrel_ports.py', rstrip=false) }}"
"""

RETURN = r"""
open_ports:
  description: The ports that other accounts can still bind; null in check mode if there are no rules yet.
  returned: success
  type: list
  elements: int
  sample: []
"""

import contextlib
import json
import pwd
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrel.jupyter.plugins.module_utils._changes.file import File
from ansible_collections.carrel.jupyter.plugins.module_utils._changes.tracker import Tracker
from ansible_collections.carrel.jupyter.plugins.module_utils._engine import ports as decide
from ansible_collections.carrel.jupyter.plugins.module_utils._host import files, install, instance_ports
from ansible_collections.carrel.jupyter.plugins.module_utils._host.port_probe import open_to_others


def find_uids(names: list[str]) -> dict[str, int]:
    uids = {}
    for name in names:
        with contextlib.suppress(KeyError):
            uids[name] = pwd.getpwnam(name).pw_uid
    return uids


def write(module: AnsibleModule, wanted: dict[str, File], tracker: Tracker) -> None:
    for path, after in wanted.items():
        before = files.read(path)
        shown = (before.describe() if before else "", after.describe())
        if tracker.note(path, before, after, show=shown) and not module.check_mode:
            files.write(path, after)
    install.ensure_link(decide.UNIT_LINK, decide.UNIT_PATH, tracker, module.check_mode)


def attach(module: AnsibleModule, tracker: Tracker) -> str | None:
    """Load the rules into the kernel; return why that failed."""
    _unused, output, errors = module.run_command(decide.COMMAND + ["--check"] * module.check_mode)
    try:
        answer: dict[str, Any] = json.loads(output)
    except ValueError:
        return f"{decide.PROGRAM} failed: {errors.strip()[-500:]}"
    if answer["changed"]:
        tracker.note("the kernel's rules", "others\n", "these\n")
    error: str | None = answer["error"]
    return error


def main() -> None:
    entry = {
        "account": {"type": "str", "required": True},
        "ports": {"type": "list", "elements": "int", "required": True},
    }
    module = AnsibleModule(
        argument_spec={
            "ports": {"type": "list", "elements": "dict", "required": True, "options": entry},
            "program": {"type": "str", "required": True},
        },
        supports_check_mode=True,
    )
    wanted = module.params["ports"]
    uids = find_uids([entry["account"] for entry in wanted])
    tracker = Tracker()
    try:
        write(module, decide.files(wanted, uids, module.params["program"]), tracker)
        if module.check_mode and tracker.changed:
            module.exit_json(**tracker.result(open_ports=None))
        error = attach(module, tracker)
        unprotected = open_to_others([port for entry in wanted for port in entry["ports"]])
    except (ValueError, files.UnsafePathError, OSError) as problem:
        module.fail_json(msg=str(problem))
    for entry in wanted:
        for text in instance_ports.others(entry["ports"], entry["account"]) if entry["account"] in uids else ():
            module.warn(f"A PORT IS TAKEN: {text}.")
    if unprotected and not (module.check_mode and tracker.changed):
        module.warn(decide.warning(unprotected, error))
    elif error:
        module.warn(f"The rules of ports could not be renewed, the former ones hold: {error}.")
    module.exit_json(**tracker.result(open_ports=unprotected))


if __name__ == "__main__":
    main()
