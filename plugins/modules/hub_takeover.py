#!/usr/bin/python
# Copyright: the carrel.jupyter authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: hub_takeover
short_description: Take over a hub that others have set up, or give it back
version_added: 0.2.0
description:
  - For the playbook C(carrel.jupyter.takeover), which runs the steps in order. What is done is recorded, so that a
    repeated step changes nothing, and a step that was killed is completed by the next run.
  - The old hub's container and people's old folders stay as they are. Their files are copied.
  - It must be root.
author:
  - the carrel.jupyter authors (@carrel)
options:
  step:
    description:
      - V(end) checks first whether everything can be taken over, also whether people's files fit on the disk. It moves
        the old hub's jobs of cron and sites to C(/etc/carrel/adopted/HUB), and stops it and people's servers. While
        somebody's files are missing, it stops again what was started since.
      - V(copy) copies the files of O(user) to where the new hub has them. The home is root's until it is complete.
      - V(copy_back) copies what is newer in the new hub, or in an archive of it since V(end), to the old folder of
        O(user). It warns if the user has a home in none.
      - V(give_back) moves jobs and sites back, and starts the old hub.
    type: str
    required: true
    choices: [end, copy, copy_back, give_back]
  hub:
    description: The hub's entry in C(jupyter_adopted), as the playbook C(carrel.jupyter.adopt) writes it.
    type: dict
    required: true
    suboptions:
      hub:
        description: The name of the new hub.
        type: str
        required: true
      account:
        description: The account whose engine has the old hub. Without it, Docker as root has it.
        type: str
      container:
        description: The old hub's container.
        type: str
        required: true
      port:
        description: Its port on the host.
        type: int
        required: true
      homes:
        description: Whose files are where in the old setup.
        type: list
        elements: dict
        default: []
        suboptions:
          user:
            description: The user's name.
            type: str
            required: true
          source:
            description: The folder with the user's files.
            type: path
            required: true
      files:
        description: Jobs of cron and sites of Apache and nginx that are moved away.
        type: list
        elements: path
        default: []
      shared:
        description: Files that have jobs or sites of others, too. As long as there is one, nothing is taken over.
        type: list
        elements: path
        default: []
  engine:
    description: For V(copy), the account of the new hub's engine. By default it is called as the hub.
    type: str
  user:
    description: Whose files are copied, one of O(hub.homes). Required with O(step=copy) and O(step=copy_back).
    type: str
  base_dir:
    description: Folder of the instances' folders.
    type: path
    default: /srv
extends_documentation_fragment:
  - carrel.jupyter.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
seealso:
  - module: carrel.jupyter.instance_takeover
"""

EXAMPLES = r"""
- name: Copy the files of a person
  carrel.jupyter.hub_takeover:
    step: copy
    hub:
      hub: jupyterhub
      container: jupyterhub
      port: 8000
      homes: [{user: ada, source: /var/lib/docker/volumes/jupyterhub-user-ada/_data}]
    user: ada
"""

RETURN = r"""
files:
  description: How many files and links were copied, or would be; of all people after V(end) in check mode.
  returned: success
  type: int
  sample: 1204
bytes:
  description: How much space their copies take.
  returned: success
  type: int
  sample: 73400320
"""

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrel.jupyter.plugins.module_utils._adopt import takeover_hub as decide
from ansible_collections.carrel.jupyter.plugins.module_utils._changes.tracker import Tracker
from ansible_collections.carrel.jupyter.plugins.module_utils._host import files
from ansible_collections.carrel.jupyter.plugins.module_utils._host.engine_api import EngineError
from ansible_collections.carrel.jupyter.plugins.module_utils._host.home_copy import Copied
from ansible_collections.carrel.jupyter.plugins.module_utils._host.process import EndlessError
from ansible_collections.carrel.jupyter.plugins.module_utils._host.takeover import TakeoverError
from ansible_collections.carrel.jupyter.plugins.module_utils._host.takeover_hub import HubTakeover
from ansible_collections.carrel.jupyter.plugins.module_utils._report import printable
from ansible_collections.carrel.jupyter.plugins.module_utils._shared.disk import size

HOME = {"user": {"type": "str", "required": True}, "source": {"type": "path", "required": True}}
HUB = {
    "hub": {"type": "str", "required": True},
    "account": {"type": "str"},
    "container": {"type": "str", "required": True},
    "port": {"type": "int", "required": True},
    "homes": {"type": "list", "elements": "dict", "default": [], "options": HOME},
    "files": {"type": "list", "elements": "path", "default": []},
    "shared": {"type": "list", "elements": "path", "default": []},
}
ENDED = ("taking", "taken")


def end(one: HubTakeover, check_mode: bool, tracker: Tracker) -> dict[str, Copied]:
    one.check_given("base")
    if one.state in ENDED:
        again = one.running() if one.left() else {}
        if again:
            names = printable.line(", ".join(again))
            tracker.note(f"hub {one.name}", f"{names}: started since it was stopped\n", f"{names}: stopped\n")
        if not check_mode:
            if again:
                one.stop()
            one.settle()
        return {}
    found = one.check() if one.state != "ending" else {}
    tracker.note(f"hub {one.name}", *decide.described(one.entry))
    if not check_mode:
        one.end()
    return found


def copy(one: HubTakeover, user: str, check_mode: bool, tracker: Tracker) -> Copied:
    one.check_given("base", "engine")
    if user in one.copied:
        return Copied()
    home = decide.user_folder(one.folder, user) + "/home"
    done = Copied() if check_mode else one.copy(user)
    said = "" if check_mode else f": {done.files} files, {size(done.bytes)}"
    tracker.note(home, "", f"the files of {one.homes[user]}{said}\n", show=("", f"from {one.homes[user]}\n"))
    return done


def copy_back(one: HubTakeover, user: str, check_mode: bool, tracker: Tracker) -> Copied:
    if one.state is None:
        return Copied()
    one.check_back()
    done = one.copy_back(user, check_mode)
    if done.files:
        tracker.note(one.homes[user], "", f"{done.files} newer files\n")
    return done


def give_back(one: HubTakeover, check_mode: bool, tracker: Tracker) -> None:
    if one.state is None:
        return
    one.check_back()
    tracker.note(f"hub {one.name}", *decide.described(one.entry)[::-1])
    if not check_mode:
        one.give_back()


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "step": {"type": "str", "required": True, "choices": ["end", "copy", "copy_back", "give_back"]},
            "hub": {"type": "dict", "required": True, "options": HUB},
            "engine": {"type": "str"},
            "user": {"type": "str"},
            "base_dir": {"type": "path", "default": "/srv"},
        },
        required_if=[("step", "copy", ["user"]), ("step", "copy_back", ["user"])],
        supports_check_mode=True,
    )
    if os.geteuid() != 0:
        module.fail_json(msg="only root can take over what others have set up: run it with become: true, or -b")
    given, check_mode, tracker = module.params, module.check_mode, Tracker()
    hub, user = given["hub"], given["user"]
    found: dict[str, Copied] = {}
    try:
        one = HubTakeover(hub, given["base_dir"].rstrip("/"), given["engine"] or hub["hub"])
        if user and user not in one.homes:
            raise TakeoverError(f"{user} is not in `homes` of {one.name} in jupyter_adopted")
        if given["step"] == "end":
            found = end(one, check_mode, tracker)
        elif given["step"] == "give_back":
            give_back(one, check_mode, tracker)
        else:
            act: Any = copy if given["step"] == "copy" else copy_back
            found = {user: act(one, user, check_mode, tracker)}
    except (
        TakeoverError, EngineError, files.UnsafePathError, EndlessError, OSError, ValueError, LookupError, TypeError,
    ) as error:  # fmt: skip
        module.fail_json(msg=printable.text(f"{user}: {error}" if user else str(error)))
    if given["step"] == "copy_back" and user in one.copied and not one.homes_since(user):
        module.warn(printable.line(decide.no_home(user, one.name, one.base)))
    for name, one_done in found.items():
        where = f"{'to' if given['step'] == 'copy_back' else 'from'} {one.homes[name]}"
        warning = decide.left_out(name, where, one_done.left, one_done.left_count)
        if warning:
            module.warn(printable.line(warning))
    module.exit_json(
        **tracker.result(
            files=sum(each.files for each in found.values()), bytes=sum(each.bytes for each in found.values())
        )
    )


if __name__ == "__main__":
    main()
