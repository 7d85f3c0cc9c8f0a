# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""`make release` in a small repository: what it refuses, and that a failure leaves nothing behind."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from testbed import release
from testbed.run import ROOT, Failure, run

GALAXY = "namespace: carrel\nname: small\nversion: 0.2.0\nreadme: README.md\nauthors: [us]\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "small"
    (folder / "changelogs" / "fragments").mkdir(parents=True)
    shutil.copy(ROOT / "changelogs" / "config.yaml", folder / "changelogs")
    (folder / "changelogs" / "fragments" / "one.yml").write_text("minor_changes: [One thing is new.]\n")
    (folder / "galaxy.yml").write_text(GALAXY)
    (folder / "README.md").write_text("# small\n")
    run("git", "init", "--quiet", "--initial-branch", "main", folder)
    run("git", "-C", folder, "config", "user.name", "us")
    run("git", "-C", folder, "config", "user.email", "us@example.org")
    commit(folder)
    return folder


def commit(root: Path, message: str = "Change") -> str:
    run("git", "-C", root, "add", "--all")
    run("git", "-C", root, "commit", "--quiet", "--allow-empty", "--message", message)
    return run("git", "-C", root, "rev-parse", "HEAD")


def test_the_version_is_that_of_galaxy_yml(root: Path) -> None:
    assert release.check(root) == "0.2.0"


def test_changes_that_are_not_committed_are_refused(root: Path) -> None:
    (root / "new").touch()
    with pytest.raises(Failure, match="not committed"):
        release.check(root)


def test_a_version_with_a_tag_is_refused(root: Path) -> None:
    run("git", "-C", root, "tag", "v0.2.0")
    with pytest.raises(Failure, match=r"0\.2\.0 is released already"):
        release.check(root)


def test_a_version_in_the_changelog_is_refused(root: Path) -> None:
    (root / "changelogs" / "changelog.yaml").write_text("releases: {0.2.0: {}}\n")
    commit(root)
    with pytest.raises(Failure, match=r"no tag v0\.2\.0"):
        release.check(root)


def test_a_release_without_news_is_refused(root: Path) -> None:
    (root / "changelogs" / "fragments" / "one.yml").unlink()
    commit(root)
    with pytest.raises(Failure, match="nothing to tell"):
        release.check(root)


def test_a_failure_leaves_the_checkout_as_it_was(root: Path) -> None:
    (root / "galaxy.yml").write_text(GALAXY.replace("authors: [us]\n", ""))
    commit(root)
    before = run("git", "-C", root, "rev-parse", "HEAD")
    with pytest.raises(Failure, match="authors"):
        release.release(root)
    assert run("git", "-C", root, "rev-parse", "HEAD") == before
    assert run("git", "-C", root, "status", "--porcelain") == run("git", "-C", root, "tag") == ""


def test_the_tarball_has_what_git_knows_and_nothing_else(root: Path, tmp_path: Path) -> None:
    (root / ".gitignore").write_text("secret\n")
    (root / "secret").touch()
    (tmp_path / "to").mkdir()
    tarball = release.build(root, tmp_path / "to")
    assert tarball.name == "carrel-small-0.2.0.tar.gz"
    names = run("tar", "tzf", tarball).split()
    assert "README.md" in names and "secret" not in names


def test_the_last_release_is_found_by_its_commit_without_a_tag(root: Path) -> None:
    commit(root, "Release 0.0.9")
    released = commit(root, "Release 0.1.0")
    commit(root, "Release 0.1.0 could not be built, mend that")
    commit(root, "Release 0.2.0")
    assert release.last(root) == ("0.1.0", released), "not the one that this version is"


def test_a_tag_is_enough_where_the_history_was_written_anew(root: Path) -> None:
    run("git", "-C", root, "tag", "--annotate", "--message", "a release", "v0.1.0")
    tagged = run("git", "-C", root, "rev-parse", "HEAD")
    commit(root)
    assert release.last(root) == ("0.1.0", tagged)


def test_a_copy_without_history_says_what_to_do(root: Path, tmp_path: Path) -> None:
    commit(root, "Release 0.1.0")
    commit(root)
    run("git", "clone", "--quiet", "--depth", "1", f"file://{root}", tmp_path / "shallow")
    with pytest.raises(Failure, match=r"no release before 0\.2\.0.*`git fetch --unshallow --tags`"):
        release.last(tmp_path / "shallow")
    (tmp_path / "unpacked").mkdir()
    shutil.copy(root / "galaxy.yml", tmp_path / "unpacked")
    with pytest.raises(Failure, match="clone anew"):
        release.last(tmp_path / "unpacked")


def test_the_last_release_is_built_from_its_commit(root: Path, tmp_path: Path) -> None:
    (root / "galaxy.yml").write_text(GALAXY.replace("0.2.0", "0.1.0"))
    commit(root, "Release 0.1.0")
    (root / "galaxy.yml").write_text(GALAXY)
    (root / "NEW").touch()
    commit(root)
    (tmp_path / "to").mkdir()
    version, tarball = release.build_last(root, tmp_path / "to")
    assert (version, tarball.name) == ("0.1.0", "carrel-small-0.1.0.tar.gz")
    assert "NEW" not in run("tar", "tzf", tarball).split()
