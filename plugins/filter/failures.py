# Copyright: the carrel.jupyter authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters of the roles and of playbooks/site.yml that report failures in a run that continues."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._report import failures

DOCUMENTATION = r"""
name: _failures
short_description: For the collection's own roles and playbooks
description:
  - These filters are not part of the collection's interface. They may change with any release.
author:
  - the carrel.jupyter authors (@carrel)
options:
  _input:
    description: What the role or the playbook gives it.
    type: raw
    required: true
"""

RETURN = r"""
_value:
  description: What the role or the playbook needs.
  type: raw
"""


class FilterModule:
    """For the collection's own roles and playbooks, not part of its interface."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "_failure_build": failures.build,
            "_failure_message": failures.message,
            "_failure_last_words": failures.last_words,
            "_failure_instances": failures.instances,
            "_failure_site": failures.site,
        }
