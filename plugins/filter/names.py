# Copyright: the carrel.jupyter authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters of the playbooks over the names that they get with -e."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._plan import chosen

DOCUMENTATION = r"""
name: _names
short_description: For the playbooks alone
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


class FilterModule:
    """For the playbooks alone, not part of the collection's interface."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"_names": chosen.names, "_names_unknown": chosen.unknown}
