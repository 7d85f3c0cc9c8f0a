# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The image of a hub itself: what is added to its Dockerfile's folder, and which old ones are removed."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from typing import Any

SHARED = "ansible_collections/carrel/jupyter/plugins/module_utils/_shared"


def files(packages: Sequence[str], shared: Mapping[str, str], certificates: Sequence[str]) -> dict[str, str]:
    """Return texts by their paths in the folder. SHARED has them by their paths on the control node."""
    return {
        "extra-requirements.txt": "".join(f"{package}\n" for package in packages),
        **{f"{SHARED}/{posixpath.basename(path)}": text for path, text in shared.items()},
        **{f"ca-certificates/extra{number}.crt": text for number, text in enumerate(certificates)},
    }


def old(images: Sequence[Mapping[str, Any]], containers: Sequence[Mapping[str, Any]], current: str) -> list[str]:
    """Return the names of the hubs' images to remove, by the engine's answers about its images and all containers.

    Each other image of CURRENT's repository is an older build. The newest of them stays as the way back, those of
    containers because they may start again, and those that somebody has given a name of another kind.
    """
    repository = current.rpartition(":")[0]
    used = {container["ImageID"] for container in containers}

    def names(image: Mapping[str, Any]) -> list[str]:
        return [name for name in image["RepoTags"] or [] if name.rpartition(":")[0] == repository]

    before = [image for image in images if names(image) and current not in image["RepoTags"]]
    before.sort(key=lambda image: int(image["Created"]), reverse=True)
    return [
        name
        for image in before[1:]
        if image["Id"] not in used and names(image) == image["RepoTags"]
        for name in names(image)
    ]
