#!/usr/bin/python
# Copyright: the carrel.jupyter authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: hub_access
short_description: Update who may use the deployed hubs of a host, before anything that can fail
version_added: 0.1.0
author: the carrel.jupyter authors (@carrel)
description:
  - Replaces C(hub/roster.json), C(hub/passwords.json) and C(hub/mounts.json) of each hub. A running hub reads the
    roster every second, so people who were removed from the list lose access within seconds, even if a later step
    fails.
  - C(hub/identities.json) remembers whose each name is. If a name was somebody else's, C(hub/roster.json) leaves it out
    until M(carrel.jupyter.user_volumes) has archived the old files, so that nobody gets the files of somebody else.
    The new server of a group waits, too, because a guest may have had its name.
    If that file cannot be read, people who left or are blocked lose access, nobody new gets any, and the hub is in
    RV(failures).
  - Directories that do not exist on the host are left out of C(hub/mounts.json) until
    M(carrel.jupyter.group_mounts) has created them.
  - A hub without its directory C(hub) is skipped, because nobody uses it yet.
  - If the files of one hub cannot be written, those of the others are. The module does not fail then, so that
    a run can go on; see RV(failures).
options:
  hubs:
    description: The hubs.
    type: list
    elements: dict
    required: true
    suboptions:
      name: {description: Name of the instance., type: str, required: true}
      directory: {description: The instance's directory., type: str, required: true}
      owner: {description: Numeric id of the engine's account., type: int, required: true}
      group: {description: Numeric id of the account's group., type: int, required: true}
      roster: {description: The content of C(hub/roster.json)., type: str, required: true}
      mounts:
        description: The content of C(hub/mounts.json), as M(carrel.jupyter.group_mounts) writes it.
        type: str
        required: true
  passwords:
    description: First passwords of users, by the hub's name and the user's name.
    type: dict
    default: {}
extends_documentation_fragment:
  - carrel.jupyter.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details: The diff says that passwords change, without showing them.
  idempotent:
    support: full
seealso:
  - module: carrel.jupyter.group_mounts
  - module: carrel.jupyter.hub_secrets
"""

EXAMPLES = r"""
- name: Allow only Ada to use this hub
  carrel.jupyter.hub_access:
    hubs:
      - name: class101
        directory: /srv/class101
        owner: 1001
        group: 1001
        roster: "{{ roster | to_json }}"
        mounts: "{{ mounts | to_json }}"
    passwords:
      class101: {ada: "{{ vault_ada }}"}
"""

RETURN = r"""
failures:
  description: The hubs that could not be written; C(name) is the hub's.
  type: list
  elements: dict
  returned: always
  sample: [{name: class101, message: "/srv/class101/hub/roster.json is not a regular file: move it away"}]
"""

import json
import os
from collections.abc import Iterator
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrel.jupyter.plugins.module_utils._changes.file import File, json_text
from ansible_collections.carrel.jupyter.plugins.module_utils._changes.tracker import Tracker
from ansible_collections.carrel.jupyter.plugins.module_utils._host import files, mounts
from ansible_collections.carrel.jupyter.plugins.module_utils._host.user_identities import LONGEST, Identities
from ansible_collections.carrel.jupyter.plugins.module_utils._people import mounts_file, user_identities

HIDDEN = ("passwords\n", "passwords, some of them new\n")


def wanted_files(hub: dict[str, Any], passwords: dict[str, str]) -> Iterator[tuple[str, File]]:
    """The most important first: people who are not in the roster get nothing."""
    roster = json.loads(hub["roster"])
    try:
        identities = Identities(hub["directory"], {name: user["identity"] for name, user in roster["users"].items()})
    except (files.UnsafePathError, OSError):
        # Nobody new gets in, because it is not known whose the names were. Those who left still lose access.
        present = files.read(f"{hub['directory']}/hub/roster.json", LONGEST)
        narrowed = user_identities.narrowed(roster, present.content.decode("utf-8", "replace")) if present else None
        if narrowed is not None:
            yield "roster.json", File(json_text(narrowed).encode(), 0o640, 0, hub["group"])
        raise
    waiting = identities.waiting()
    yield "identities.json", identities.file(identities.lasting())
    text = json_text(user_identities.without(roster, waiting)) if waiting else hub["roster"]
    yield "roster.json", File(text.encode(), 0o640, 0, hub["group"])
    content = json.loads(hub["mounts"])
    missing = mounts.unusable(content, f"{hub['directory']}/data")
    text = json_text(mounts_file.without(content, missing))
    yield "mounts.json", File(text.encode(), 0o640, 0, hub["group"])
    yield "passwords.json", File(json_text(passwords).encode(), 0o600, hub["owner"], hub["group"])


def apply(module: AnsibleModule, hub: dict[str, Any], tracker: Tracker) -> None:
    folder = f"{hub['directory']}/hub"
    try:
        os.close(files.open_directory(folder))
    except FileNotFoundError:
        return
    for name, wanted in wanted_files(hub, module.params["passwords"].get(hub["name"], {})):
        path = f"{folder}/{name}"
        present = files.read(path)
        shown = (present.describe() if present else "", wanted.describe())
        if name == "passwords.json":
            shown = HIDDEN
        if tracker.note(path, present, wanted, show=shown) and not module.check_mode:
            files.write(path, wanted)


def main() -> None:
    text: dict[str, Any] = {"type": "str", "required": True}
    number: dict[str, Any] = {"type": "int", "required": True}
    module = AnsibleModule(
        argument_spec={
            "hubs": {
                "type": "list", "elements": "dict", "required": True,
                "options": {
                    "name": text, "directory": text, "owner": number, "group": number, "roster": text, "mounts": text,
                },
            },
            "passwords": {"type": "dict", "default": {}, "no_log": True},
        },
        supports_check_mode=True,
    )  # fmt: skip
    tracker = Tracker()
    failures = []
    for hub in module.params["hubs"]:
        try:
            apply(module, hub, tracker)
        except (files.UnsafePathError, OSError, ValueError) as error:
            failures.append({"name": hub["name"], "message": str(error)})
    module.exit_json(**tracker.result(failures=failures))


if __name__ == "__main__":
    main()
