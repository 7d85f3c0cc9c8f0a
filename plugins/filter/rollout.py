# Copyright: the carrel.jupyter authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters of playbooks/site.yml over the pure functions that decide on batches of hosts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.carrel.jupyter.plugins.module_utils._plan import rollout

DOCUMENTATION = r"""
name: _rollout
short_description: For playbooks/site.yml alone
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


def decide(
    hosts: Sequence[str], plans: Sequence[Mapping[str, Any]], groups: Mapping[str, Sequence[str]]
) -> dict[str, Any]:
    try:
        return rollout.decide(dict(zip(hosts, plans)), groups)._asdict()
    except ValueError as error:
        raise AnsibleFilterError(f"{error}. Nothing was touched.") from error


def serial(decided: Mapping[str, Any]) -> Any:
    """Return the play's C(serial); 0, all hosts at once, if there was no host to decide about."""
    return decided.get("serial", 0)


class FilterModule:
    """For playbooks/site.yml alone, not part of the collection's interface."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "_rollout": decide,
            "_rollout_serial": serial,
            "_rollout_begin": rollout.begin,
            "_rollout_outcome": rollout.outcome,
            "_rollout_stops": rollout.stops,
        }
