# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""`make docs`: build the documentation's site. Warnings and broken links are errors."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from .run import ROOT

DOCS = ROOT / "docs"
PLUGINS = DOCS / "reference" / "plugins"


def build(site: Path) -> None:
    """Generate the pages of modules and roles, and build all pages anew: only those that are read again can warn."""
    # antsibull-docs refuses a folder that others may write to
    PLUGINS.mkdir(exist_ok=True)
    PLUGINS.chmod(0o755)
    generate: list[str | Path] = ["antsibull-docs", "--config-file", DOCS / "antsibull-docs.cfg", "collection"]
    generate += ["--use-current", "--squash-hierarchy", "--fail-on-error", "--cleanup", "everything"]
    subprocess.run([*generate, "--dest-dir", PLUGINS, "carrel.jupyter"], cwd=ROOT, check=True)
    with tempfile.TemporaryDirectory() as trees:
        command = ["sphinx-build", "--quiet", "--fail-on-warning", "--keep-going", "--fresh-env"]
        subprocess.run([*command, "--doctree-dir", trees, DOCS, site], cwd=ROOT, check=True)


if __name__ == "__main__":
    try:
        build(Path(sys.argv[1]).resolve())
    except subprocess.CalledProcessError as error:
        sys.exit(error.returncode)
