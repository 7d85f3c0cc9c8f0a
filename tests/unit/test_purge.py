# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a purge deletes, on real files; an account needs a host: tests/e2e/test_lifecycle.py."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.carrel.jupyter.plugins.module_utils import _purge
from test_install_files import four_runs, run

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="archives are root's")
STAMP = "20261122T230102Z"


def test_only_the_instance_s_own_archives_count() -> None:
    others = [f"tao-2-{STAMP}", f"xtao-{STAMP}", "tao-", f"tao-{STAMP}.old", "tao-kept", f"tao.-{STAMP}"]
    assert _purge.archives("tao", [f"tao-{STAMP}", *others]) == [f"tao-{STAMP}"]


@pytest.mark.parametrize(
    ("instances", "others", "said"),
    [
        ({"tao": {"engine": "tao"}}, [], "tao is on this host"),
        ({"atlas": {"engine": "tao"}}, [], "atlas is on this host"),
        ({}, [f"atlas-{STAMP}"], f"the archive atlas-{STAMP} has files of the account tao"),
        ({"atlas": {"engine": "atlas"}, "geo": {}}, [], None),
    ],
)
def test_what_somebody_still_needs_is_kept(instances: dict[str, Any], others: list[str], said: str | None) -> None:
    found = _purge.problems("tao", instances, others)
    assert found == [] if said is None else len(found) == 1 and found[0].startswith(said)


def test_archives_go_and_what_links_lead_to_stays(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("kept")
    archive = tmp_path / "base" / ".archive"
    mine, other = archive / f"unit-tests-tao-{STAMP}", archive / f"unit-tests-tao2-{STAMP}"
    for folder in (mine, other):
        (folder / "data").mkdir(parents=True)
    (mine / "data" / "file").symlink_to(tmp_path / "victim")
    (mine / "data" / "folder").symlink_to(tmp_path)
    os.chown(mine / "data", 12345, 12345)
    four_runs("instance_purge", name="unit-tests-tao", base_dir=str(tmp_path / "base"))
    assert os.listdir(archive) == [other.name]
    assert (tmp_path / "victim").read_text() == "kept"


def test_a_link_in_an_archive_s_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").mkdir()
    (tmp_path / "victim" / "file").touch()
    (tmp_path / ".archive").mkdir()
    (tmp_path / ".archive" / f"unit-tests-tao-{STAMP}").symlink_to(tmp_path / "victim")
    run("instance_purge", name="unit-tests-tao", base_dir=str(tmp_path))
    assert (tmp_path / "victim" / "file").exists()


def test_nothing_is_deleted_before_it_is_archived(tmp_path: Path) -> None:
    archived = tmp_path / ".archive" / f"unit-tests-tao-{STAMP}"
    archived.mkdir(parents=True)
    (tmp_path / "unit-tests-tao").mkdir()
    answer = run("instance_purge", name="unit-tests-tao", base_dir=str(tmp_path))
    assert answer["failed"] and "unit-tests-tao is not archived yet" in answer["msg"]
    assert archived.exists()


def test_an_account_that_is_no_engine_s_is_nobody_s_business(tmp_path: Path) -> None:
    for name in ("root", "daemon", "../etc", ""):
        assert run("instance_purge", name=name, base_dir=str(tmp_path))["changed"] is False
