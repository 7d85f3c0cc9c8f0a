# Copyright: the carrel.jupyter authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters of the role reset and of playbooks/reset.yml."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils import _reset


class FilterModule:
    """For these alone, not part of the collection's interface."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "reset_install": _reset.install,
            "reset_packages": _reset.packages,
            "reset_waits": _reset.waits,
            "reset_unknown": _reset.unknown,
            "reset_report": _reset.report,
        }
