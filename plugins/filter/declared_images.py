# Copyright: the carrel.jupyter authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter of playbooks/site.yml that gives instances the images that were built for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils import _declared_images


class FilterModule:
    """For playbooks/site.yml alone, not part of the collection's interface."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"bind_images": _declared_images.bind}
