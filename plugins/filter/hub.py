# Copyright: the carrel.jupyter authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters of the role hub over the pure functions that decide what a hub consists of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils import _compose, _hub, _hub_access, _hub_images


def record(instance: dict[str, Any], database: str) -> str:
    """With the type of the database that the hub really has."""
    return _compose.record("hub", instance, database=database)


class FilterModule:
    """For the role hub alone, not part of the collection's interface."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "hub_access": _hub_access.access,
            "hub_project": _hub.project,
            "hub_labelled": _hub.labelled,
            "hub_image_problems": _hub_images.problems,
            "hub_record": record,
        }
