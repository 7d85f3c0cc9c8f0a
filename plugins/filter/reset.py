# Copyright: the carrel.jupyter authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters of the role reset and of playbooks/reset.yml."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._site import reset

DOCUMENTATION = r"""
name: _reset
short_description: For the role reset and playbooks/reset.yml alone
description:
  - These filters are not part of the collection's interface. They may change with any release.
author:
  - the carrel.jupyter authors (@carrel)
options:
  _input:
    description: What the role gives it.
    type: raw
    required: true
"""

RETURN = r"""
_value:
  description: What the role needs.
  type: raw
"""


class FilterModule:
    """For these alone, not part of the collection's interface."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "_reset_install": reset.install,
            "_reset_packages": reset.packages,
            "_reset_zones": reset.zones,
            "_reset_report": reset.report,
        }
