# Copyright: the carrel.jupyter authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters of the playbook move."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.carrel.jupyter.plugins.module_utils._shared.disk import size
from ansible_collections.carrel.jupyter.plugins.module_utils._site import move

DOCUMENTATION = r"""
name: _move
short_description: For the playbook move alone
description:
  - These filters are not part of the collection's interface. They may change with any release.
author:
  - the carrel.jupyter authors (@carrel)
options:
  _input:
    description: What the playbook gives it.
    type: raw
    required: true
"""

RETURN = r"""
_value:
  description: What the playbook needs.
  type: raw
"""


def settings(job: Mapping[str, Any], engines: Mapping[str, Any], host: str) -> dict[str, Any]:
    try:
        return move.settings(job, engines, host)
    except ValueError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    """For the playbook move alone, not part of the collection's interface."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "_move_settings": settings,
            "_move_hosts": move.hosts_of,
            "_move_problem": move.problem,
            "_move_room": move.room,
            "_move_size": size,
            "_move_elsewhere": move.elsewhere,
            "_move_certificates": move.certificates,
            "_move_advice": move.advice,
        }
