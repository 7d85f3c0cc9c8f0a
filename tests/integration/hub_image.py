# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hub's image, built from the folder that the role ships, as the role builds it."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path

from testbed import images
from testbed.run import ROOT, run, step, succeeds

FOLDER = ROOT / "roles" / "hub" / "files" / "image"
MODULE_UTILS = Path("ansible_collections/carrel/jupyter/plugins/module_utils")


def build() -> str:
    base = images.base()
    with tempfile.TemporaryDirectory() as scratch:
        context = Path(scratch) / "context"
        shutil.copytree(FOLDER, context, ignore=shutil.ignore_patterns("__pycache__"))
        (context / MODULE_UTILS).mkdir(parents=True)
        for name in ("_escape.py", "_login_page.py", "_mounts.py", "_usernames.py"):
            shutil.copy(ROOT / "plugins" / "module_utils" / name, context / MODULE_UTILS)
        for certificate in sorted(images.MACHINE_CERTIFICATES.glob("*.crt")):
            shutil.copy(certificate, context / "ca-certificates")
        digest = hashlib.sha256()
        for path in sorted(context.rglob("*")):
            if path.is_file():
                digest.update(f"{path.relative_to(context)}\n".encode() + path.read_bytes())
        tag = f"carrel-testbed/hub:{digest.hexdigest()[:12]}"
        if not succeeds("docker", "image", "inspect", tag):
            with step("building the hub's image"):
                run("docker", "build", "--build-arg", f"BASE_IMAGE={base}", "--tag", tag, context)
    return tag
