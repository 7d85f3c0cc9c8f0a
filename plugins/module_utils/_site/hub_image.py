# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is added to the Dockerfile's folder of a hub's own image."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence

SHARED = "ansible_collections/carrel/jupyter/plugins/module_utils/_shared"


def files(packages: Sequence[str], shared: Mapping[str, str], certificates: Sequence[str]) -> dict[str, str]:
    """Return texts by their paths in the folder. SHARED has them by their paths on the control node."""
    return {
        "extra-requirements.txt": "".join(f"{package}\n" for package in packages),
        **{f"{SHARED}/{posixpath.basename(path)}": text for path, text in shared.items()},
        **{f"ca-certificates/extra{number}.crt": text for number, text in enumerate(certificates)},
    }
