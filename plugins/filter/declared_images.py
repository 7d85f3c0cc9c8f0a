# Copyright: the carrel.jupyter authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter of playbooks/site.yml that gives instances the images that were built for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._images import declared

DOCUMENTATION = r"""
name: _images
short_description: For playbooks/site.yml alone
version_added: 0.1.0
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
    """For playbooks/site.yml alone, not part of the collection's interface."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"_bind_images": declared.bind}
