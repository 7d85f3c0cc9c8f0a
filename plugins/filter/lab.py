# Copyright: the carrel.jupyter authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters of the role lab over the pure functions that decide what a lab consists of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils import _compose, _lab


class FilterModule:
    """For the role lab alone, not part of the collection's interface."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "lab_project": _lab.project,
            "lab_labelled": _lab.labelled,
            "lab_dotenv": _compose.dotenv,
            "lab_record": _lab.lab_record,
        }
