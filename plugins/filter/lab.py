# Copyright: the carrel.jupyter authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters of the role lab over the pure functions that decide what a lab consists of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._site import compose, lab

DOCUMENTATION = r"""
name: _lab
short_description: For the role lab alone
version_added: 0.1.0
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
    """For the role lab alone, not part of the collection's interface."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "_lab_project": lab.project,
            "_lab_labelled": lab.labelled,
            "_lab_dotenv": compose.dotenv,
            "_lab_record": lab.lab_record,
        }
