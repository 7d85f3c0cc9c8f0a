# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hub's image, built from the folder that the role ships, as the role builds it."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from testbed import images
from testbed.run import ROOT

FOLDER = ROOT / "roles" / "hub" / "files" / "image"
SHARED = Path("ansible_collections/carrel/jupyter/plugins/module_utils/_shared")


def build(*packages: str) -> str:
    """PACKAGES: what an administrator adds (extra_packages)."""
    with tempfile.TemporaryDirectory() as scratch:
        context = Path(scratch) / "context"
        shutil.copytree(FOLDER, context, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copytree(
            ROOT / "plugins/module_utils/_shared", context / SHARED, ignore=shutil.ignore_patterns("__pycache__")
        )
        (context / "extra-requirements.txt").write_text("".join(f"{package}\n" for package in packages))
        images.add_certificates(context / "ca-certificates")
        return images.build_context("hub", context, {"BASE_IMAGE": images.base()})
