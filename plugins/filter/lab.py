# Copyright: the carrel.jupyter authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters of the role lab over the pure functions that decide what a lab consists of."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.carrel.jupyter.plugins.module_utils._site import lab
from ansible_collections.carrel.jupyter.plugins.plugin_utils._folder import digest

DOCUMENTATION = r"""
name: _lab
short_description: For the role lab alone
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


def image_name(instance: dict[str, Any]) -> str:
    """Return the image's name.

    A built image is tagged by what it is built from, wherever the folder lies, so that nothing is rebuilt that did not
    change.
    """
    build = instance["build"]
    if build is None:
        return str(instance["image"])
    folder = Path(build["context"])
    if not folder.is_dir():
        raise AnsibleFilterError(f"{folder} is not a folder on the control node")
    salt = json.dumps({**build, "context": ""}, sort_keys=True)
    return f"carrel/{instance['name']}:{digest(folder, salt)}"


def named(instances: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the instances with the names of their images, for instance_drift; None where a folder cannot be read."""
    found = []
    for instance in instances:
        name: Any = instance["image"]
        # Errors in a folder are reported when its lab is set up, so that other labs are not affected.
        with contextlib.suppress(AnsibleFilterError, OSError):
            if instance["build"] is not None:
                name = image_name(instance)
        found.append({**instance, "image": name})
    return found


class FilterModule:
    """For the role lab alone, not part of the collection's interface."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "_lab_project": lab.project,
            "_lab_files": lab.files,
            "_lab_server_options": lab.server_options,
            "_lab_image_name": image_name,
            "_lab_named": named,
            "_lab_record": lab.lab_record,
        }
