# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""`make sanity`: run ansible-test and the lint of antsibull-docs on a copy that lies where collections do."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import ansible_test

from .run import ROOT, run

REQUIREMENTS = Path(ansible_test.__path__[0]) / "_internal" / "python_requirements.py"
WITHOUT_A_DOWNLOAD = """import subprocess, sys
subprocess.check_call([sys.executable, "-m", "ensurepip", "--default-pip"])
"""


def copy(to: Path, root: Path = ROOT) -> None:
    """Copy what git knows, and what is new."""
    listed = run("git", "-C", root, "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    for name in filter(None, listed):
        source, target = root / name, to / name
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target, follow_symlinks=False)


def bring_pip() -> None:
    """Give ansible-test the pip of this Python: it would download one from a server that not every machine reaches."""
    cache = Path.home() / ".ansible" / "test" / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    for version in set(re.findall(r"\bpip='([0-9.]+)'", REQUIREMENTS.read_text())):
        script = cache / f"get_pip_{version.replace('.', '_')}.py"
        if not script.exists():
            script.write_text(WITHOUT_A_DOWNLOAD)


def main() -> int:
    """Run it with this Python; what it installs, it keeps in ~/.ansible/test."""
    bring_pip()
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    sanity = ["ansible-test", "sanity", "--python", python, "--requirements", "--color", "no"]
    # markup, and what modules, plugins and roles refer to
    lint = ["antsibull-docs", "lint-collection-docs", "--plugin-docs", "--validate-collection-refs", "dependent"]
    lint += ["--disallow-unknown-collection-refs", "."]
    # not below the checkout, whose .gitignore would hide all of it
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "ansible_collections" / "carrel" / "jupyter"
        copy(folder)
        return max(subprocess.run(command, cwd=folder, check=False).returncode for command in (sanity, lint))


if __name__ == "__main__":
    sys.exit(main())
