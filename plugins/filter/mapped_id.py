# Copyright: the carrel.jupyter authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.carrel.jupyter.plugins.module_utils._engine import ids

DOCUMENTATION = r"""
name: mapped_id
short_description: Map an id in a container of a rootless engine to the host's id
version_added: 0.1.0
description:
  - In a rootless engine the container's id 0 is the engine's account itself, and N is the Nth id of the account's range
    in C(/etc/subuid), or C(/etc/subgid) for groups.
author:
  - the carrel.jupyter authors (@carrel)
positional: account_id, range
options:
  _input:
    description: The uid or gid in the container.
    type: int
    required: true
  account_id:
    description: The uid, or gid, of the engine's account.
    type: int
    required: true
  range:
    description: The account's range, with C(start) and C(count), as M(carrel.jupyter.instance_info) returns it.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Make a folder that uid 1000 of a container can write
  ansible.builtin.file:
    path: /srv/tao/data/notebooks
    state: directory
    owner: "{{ 1000 | carrel.jupyter.mapped_id(engine.uid, engine.subuid) }}"
    group: "{{ 100 | carrel.jupyter.mapped_id(engine.gid, engine.subgid) }}"
    mode: "0755"
  vars:
    engine: {uid: 1001, gid: 1001, subuid: {start: 165536, count: 65536}, subgid: {start: 165536, count: 65536}}
"""

RETURN = r"""
_value:
  description: The id on the host.
  type: int
"""


def mapped_id(container_id: Any, account_id: Any, id_range: Any) -> int:
    if not isinstance(id_range, Mapping) or not {"start", "count"} <= set(id_range):
        raise AnsibleFilterError(
            "mapped_id: the range must be a mapping with start and count, as instance_info returns it"
        )
    numbers = (container_id, account_id, id_range["start"], id_range["count"])
    if any(isinstance(number, bool) or not isinstance(number, int) for number in numbers):
        raise AnsibleFilterError("mapped_id: ids, start and count must be whole numbers; use the filter int on text")
    try:
        return ids.mapped_id(*numbers)
    except ValueError as error:
        raise AnsibleFilterError(f"mapped_id: {error}") from error


class FilterModule:
    def filters(self) -> dict[str, Callable[..., int]]:
        return {"mapped_id": mapped_id}
