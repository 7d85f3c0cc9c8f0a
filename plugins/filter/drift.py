# Copyright: the carrel.jupyter authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A filter of the playbook plan over the pure function that reports differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._site import drift

DOCUMENTATION = r"""
name: _drift
short_description: For the playbook plan alone
description:
  - This filter is not part of the collection's interface. It may change with any release.
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
    """For the playbook plan alone, not part of the collection's interface."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"_drift_lines": drift.lines}
