# Copyright: the carrel.jupyter authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters of the role hub over the pure functions that decide what a hub consists of."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._site import (
    hub,
    hub_access,
    hub_image,
    hub_images,
    hub_options,
    hub_smoke,
)
from ansible_collections.carrel.jupyter.plugins.plugin_utils._folder import digest

DOCUMENTATION = r"""
name: _hub
short_description: For the role hub alone
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


def image_name(instance: dict[str, Any], folder: str, parts: list[Any]) -> str:
    """Return the tag of the hub's image: all that goes into it, so that only a change builds it again."""
    salt = json.dumps([parts, instance["extra_packages"]], sort_keys=True)
    return f"carrel/hub:{digest(Path(folder), salt)}"


def named(instances: list[dict[str, Any]], folder: str, parts: list[Any]) -> list[dict[str, Any]]:
    """Return the instances with the names of the hubs' own images, for instance_drift; None where it cannot be read."""
    found = []
    for instance in instances:
        name: str | None = None
        with contextlib.suppress(OSError):
            name = image_name(instance, folder, parts)
        found.append({**instance, "hub_image": name})
    return found


class FilterModule:
    """For the role hub alone, not part of the collection's interface."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "_hub_access": hub_access.access,
            "_hub_build_files": hub_image.files,
            "_hub_has_own_parts": hub.has_own_parts,
            "_hub_project": hub.project,
            "_hub_files": hub.files,
            "_hub_image_old": hub_image.old,
            "_hub_image_problems": hub_images.problems,
            "_hub_image_warnings": hub_images.warnings,
            "_hub_image_name": image_name,
            "_hub_mount_options": hub_options.mounts,
            "_hub_named": named,
            "_hub_record": hub.hub_record,
            "_hub_secret_options": hub_options.secrets,
            "_hub_smoke_before": hub_smoke.before,
            "_hub_smoke_due": hub_smoke.due,
            "_hub_smoke_files": hub_smoke.files,
            "_hub_smoke_noted": hub_smoke.read_noted,
            "_hub_smoke_passed": hub_smoke.with_passed,
            "_hub_smoke_refusal": hub_smoke.refusal,
            "_hub_smoke_untried": hub_smoke.untried,
            "_hub_volume_options": hub_options.volumes,
        }
