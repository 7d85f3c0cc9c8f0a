# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""`make release`: write the changelog, build and check the tarball, commit and tag. Nothing is pushed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.version import order

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


def declared(galaxy: str) -> str:
    """Return the version in the text of a galaxy.yml."""
    return str(yaml.safe_load(galaxy)["version"])


def last(root: Path) -> tuple[str, str]:
    """Return version and commit of the last release before the version in galaxy.yml.

    The commit's message is enough, because not every clone brings the tags along.
    """
    version = declared((root / "galaxy.yml").read_text())
    found = {}
    # A commit counts more than a tag, and the last commit of a version more than one before it.
    for ref in run("git", "-C", root, "tag", "--list", "v[0-9]*", check=False).splitlines():
        found[ref[1:]] = f"{ref}^{{commit}}"
    for line in reversed(run("git", "-C", root, "log", "--format=%H %s", check=False).splitlines()):
        if release := re.fullmatch(r"([0-9a-f]{40}) Release ([0-9]\S*)", line):
            found[release[2]] = release[1]
    known = {old: ref for old, ref in found.items() if () < order(old) < order(version)}
    if not known:
        raise Failure(
            f"{root} knows no release before {version}, neither as a commit nor as a tag; run "
            "`git fetch --unshallow --tags` in a shallow clone, or clone anew in place of an unpacked tarball"
        )
    newest = max(known, key=order)
    return newest, run("git", "-C", root, "rev-parse", "--verify", known[newest])


def check(root: Path) -> str:
    """Return the version to release, or raise Failure with the reason why it cannot be released."""
    version = declared((root / "galaxy.yml").read_text())
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
        return _build(Path(scratch), to)


def build_last(root: Path, to: Path) -> tuple[str, Path]:
    """Build the tarball of the last release again; return its version, too."""
    version, commit = last(root)
    with tempfile.TemporaryDirectory() as scratch:
        archive, tree = Path(scratch) / "tree.tar", Path(scratch) / "tree"
        tree.mkdir()
        run("git", "-C", root, "archive", "--output", archive, commit)
        run("tar", "--extract", "--file", archive, "--directory", tree)
        return version, _build(tree, to)


def _build(tree: Path, to: Path) -> Path:
    run("ansible-galaxy", "collection", "build", "--force", "--output-path", to, tree)
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
