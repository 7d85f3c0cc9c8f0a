# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The image of a hub itself: what is added to its Dockerfile's folder, and which old ones are removed."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from typing import Any

SHARED = "ansible_collections/carrel/jupyter/plugins/module_utils/_shared"
LABEL = "carrel.hub"  # of its Dockerfile
LAB_LABEL = "carrel.lab"  # the same of the lab image


def files(packages: Sequence[str], shared: Mapping[str, str], certificates: Sequence[str]) -> dict[str, str]:
    """Return texts by their paths in the folder. SHARED has them by their paths on the control node."""
    return {
        "extra-requirements.txt": "".join(f"{package}\n" for package in packages),
        **{f"{SHARED}/{posixpath.basename(path)}": text for path, text in shared.items()},
        **{f"ca-certificates/extra{number}.crt": text for number, text in enumerate(certificates)},
    }


def old(
    images: Sequence[Mapping[str, Any]], containers: Sequence[Mapping[str, Any]], current: str, label: str = LABEL
) -> list[str]:
    """Return the names of the hubs' images to remove, by the engine's answers about its images and all containers.

    With LAB_LABEL: the names of the collection's lab images. Images that stand on one have the label, too.

    Images with the label that no container uses are older builds. The newest of them stays as the way back. Those with
    a name of another kind stay as well, and those without the label, which a lab or jupyter_images may have named so.
    """
    repository = current.rpartition(":")[0]
    used = {container["ImageID"] for container in containers}

    def is_ours(image: Mapping[str, Any]) -> bool:
        names = image["RepoTags"] or []
        named = bool(names) and all(name.rpartition(":")[0] == repository for name in names)
        return named and label in (image["Labels"] or {})

    ours = sorted(filter(is_ours, images), key=lambda image: int(image["Created"]), reverse=True)
    spare = [image for image in ours if current not in image["RepoTags"] and image["Id"] not in used]
    built = any(current in image["RepoTags"] for image in ours)
    # In check mode before the build, what runs now will be the way back.
    last = [] if not built and any(image["Id"] in used for image in ours) else spare[:1]
    return [name for image in spare[len(last) :] for name in image["RepoTags"]]
