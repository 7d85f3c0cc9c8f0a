# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""`make release`: write the changelog, build and check the tarball, commit and tag. Nothing is pushed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

from .run import ROOT, Failure, run, step
from .sanity import copy

# In an environment of its own, because it wants other versions of ansible-lint than the project does.
IMPORTER = ["uv", "tool", "run", "--from", "galaxy-importer>=0.4.44,<0.5", "python", "-m", "galaxy_importer.main"]
# What `make lint` and `make sanity` do is not done again.
IMPORTER_CONFIG = """[galaxy-importer]
RUN_ANSIBLE_DOC = True
RUN_ANSIBLE_LINT = False
RUN_ANSIBLE_TEST = False
RUN_FLAKE8 = False
CHECK_REQUIRED_TAGS = True
CHECK_RUNTIME_YAML = True
"""


def check(root: Path) -> str:
    """Return the version to release, or raise Failure with the reason why it cannot be released."""
    version = str(yaml.safe_load((root / "galaxy.yml").read_text())["version"])
    if run("git", "-C", root, "status", "--porcelain"):
        raise Failure("there are changes that are not committed: commit them, or put them aside")
    if run("git", "-C", root, "tag", "--list", f"v{version}"):
        raise Failure(f"{version} is released already: raise version in galaxy.yml, and commit it")
    changelog = root / "changelogs" / "changelog.yaml"
    if changelog.exists() and version in yaml.safe_load(changelog.read_text())["releases"]:
        raise Failure(f"the changelog has {version} already, and no tag v{version} is there: set it, or raise version")
    if not list((root / "changelogs" / "fragments").glob("*.yml")):
        raise Failure("changelogs/fragments has nothing to tell users: write what is new")
    return version


def build(root: Path, to: Path) -> Path:
    """Build the tarball of what git knows, so that nothing else gets in."""
    with tempfile.TemporaryDirectory() as scratch:
        copy(Path(scratch), root)
        run("ansible-galaxy", "collection", "build", "--force", "--output-path", to, scratch)
    (tarball,) = to.glob("*.tar.gz")
    return tarball


def check_tarball(tarball: Path) -> None:
    """Have Galaxy's own importer read it."""
    config = tarball.with_name("importer.cfg")
    config.write_text(IMPORTER_CONFIG)
    done = subprocess.run(
        [*IMPORTER, tarball], cwd=tarball.parent, env={**os.environ, "GALAXY_IMPORTER_CONFIG": str(config)},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    if done.returncode or "Importer processing completed successfully" not in done.stdout:
        raise Failure("galaxy-importer refuses the tarball:\n" + "\n".join(done.stdout.splitlines()[-25:]))


def release(root: Path) -> Path:
    """Release what is committed; on a failure the checkout is as before."""
    version = check(root)
    with tempfile.TemporaryDirectory() as scratch:
        try:
            with step(f"write the changelog of {version}"):
                run("antsibull-changelog", "release", "--version", version, folder=root)
            with step("build the tarball"):
                tarball = build(root, Path(scratch))
            with step("check it with galaxy-importer"):
                check_tarball(tarball)
            run("git", "-C", root, "add", "--all", "changelogs", "CHANGELOG.md")
            run("git", "-C", root, "commit", "--quiet", "--message", f"Release {version}")
            run("git", "-C", root, "tag", "--annotate", "--message", f"carrel.jupyter {version}", f"v{version}")
        except BaseException:
            run("git", "-C", root, "restore", "--staged", "--worktree", ".")
            run("git", "-C", root, "clean", "--quiet", "--force", "changelogs")
            raise
        return Path(shutil.move(tarball, root / tarball.name))


if __name__ == "__main__":
    try:
        print(f"{release(ROOT)}\nNothing is pushed: CONTRIBUTING.md has the next steps.")
    except Failure as failure:
        sys.exit(f"make release: {failure}")
