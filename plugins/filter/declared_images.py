# Copyright: the carrel.jupyter authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters of the playbooks site and plan, and of the role image, over the pure functions about declared images."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.carrel.jupyter.plugins.module_utils._images import build, declared
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.image_keys import IMAGE
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.problems import MESSAGES
from ansible_collections.carrel.jupyter.plugins.module_utils._site import hub_image

DOCUMENTATION = r"""
name: _images
short_description: For the playbooks site and plan and the role image alone
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


def folders(images: list[dict[str, Any]], base: str) -> list[dict[str, Any]]:
    """Return images without nulls and keys that are not for the role; relative folders begin at `base`."""
    found = []
    for image in images:
        if image["name"] in build.OWN_NAMES:
            raise AnsibleFilterError(f"image_builds: {MESSAGES['declared_own'].format(value=repr(image['name']))}")
        given = {key: value for key, value in image.items() if value is not None and IMAGE[key].handed}
        if "folder" in given:
            given["folder"] = os.path.join(base, os.path.expanduser(given["folder"]))
        found.append(given)
    return found


def old_labs(images: list[dict[str, Any]], containers: list[dict[str, Any]], current: str) -> list[str]:
    return hub_image.old(images, containers, current, hub_image.LAB_LABEL)


class FilterModule:
    """For the playbooks site and plan and the role image alone, not part of the collection's interface."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "_bind_images": declared.bind,
            "_image_certificates": declared.certificates,
            "_image_entries": declared.entries,
            "_image_folder_tag": build.folder_tag,
            "_image_folders": folders,
            "_image_old_labs": old_labs,
            "_image_place": declared.place,
            "_image_results": declared.results,
            "_image_to_push": declared.to_push,
            "_images_differing": declared.differing,
            "_images_to_compare": declared.to_compare,
        }
