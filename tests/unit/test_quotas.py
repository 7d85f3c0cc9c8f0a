# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Limits on disk: decisions, and warnings where they cannot be enforced. tests/quotas has real ones."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.carrel.jupyter.plugins.module_utils._changes.tracker import Tracker
from ansible_collections.carrel.jupyter.plugins.module_utils._host import group_directories, quotas
from ansible_collections.carrel.jupyter.plugins.module_utils._host.directories import Wanted
from ansible_collections.carrel.jupyter.plugins.module_utils._host.install import Installation
from ansible_collections.carrel.jupyter.plugins.module_utils._host.user_directories import UserDirectories
from ansible_collections.carrel.jupyter.plugins.module_utils._shared.disk import most_files
from ansible_collections.carrel.jupyter.plugins.module_utils._site.drift import file_reason
from ansible_collections.carrel.jupyter.plugins.module_utils._site.quotas import (
    FIRST,
    ForeignProjectError,
    Found,
    Step,
    decide,
    rounded,
    text,
    unenforced,
)
from plan_helpers import hub, lab, plan

MB = 1 << 20
PLAIN = Found(enforced=True)
OURS = Found(True, FIRST + 7, hands_on=True, limit=MB, most_files=most_files(MB))
INHERITED = Found(True, FIRST + 7, inherited=True, hands_on=True, limit=MB)


@pytest.mark.parametrize(
    ("found", "wanted", "step"),
    [
        ([PLAIN], None, Step.NOTHING),
        ([PLAIN], MB, Step.MARK),
        ([OURS], MB, Step.NOTHING),
        ([OURS], MB - 1, Step.NOTHING),  # the kernel takes whole kilobytes
        ([OURS], 2 * MB, Step.LIMIT),
        ([dataclasses.replace(OURS, most_files=0)], MB, Step.LIMIT),  # of version 0.1.0
        ([dataclasses.replace(OURS, most_files=5)], MB, Step.LIMIT),
        ([dataclasses.replace(OURS, most_files=0)], None, Step.LIFT),
        ([OURS], None, Step.LIFT),
        ([Found(True, FIRST + 7, hands_on=True)], MB, Step.MARK),  # a killed run left it
        ([Found(True, FIRST + 7, limit=MB)], MB, Step.MARK),  # what is made in it would stay outside
        ([OURS, OURS], MB, Step.NOTHING),
        ([OURS, PLAIN], MB, Step.MARK),
        ([INHERITED], None, Step.NOTHING),
        ([Found(False)], MB, Step.UNENFORCED),
        ([Found(False)], None, Step.NOTHING),
    ],
)
def test_what_is_done(found: list[Found], wanted: int | None, step: Step) -> None:
    assert decide("/srv/tao/data/notebooks", found, wanted) is step


@pytest.mark.parametrize("found", [Found(True, 5), Found(True, FIRST - 1), Found(True, FIRST + (1 << 24)), INHERITED])
def test_a_project_of_somebody_else_is_left_alone(found: Found) -> None:
    with pytest.raises(
        ForeignProjectError, match=rf"^/srv/x is in the project {found.project} of another owner.*chattr"
    ):
        decide("/srv/x", [PLAIN, found], MB)


def test_sizes_are_whole_blocks_and_never_smaller() -> None:
    assert [rounded(size) for size in (None, 0, 1, 1024, 1025)] == [0, 0, 1024, 1024, 2048]


def test_the_limit_of_files_is_out_of_the_way_of_ordinary_homes() -> None:
    """Environments of conda have about a file in 40 KiB."""
    for limit in (MB, 1 << 30, 10 << 30, 1 << 40):
        assert most_files(limit) >= max(100_000, 4 * limit // (40 << 10))
        assert most_files(2 * limit) >= most_files(limit)
    assert most_files(0) == 0


def test_another_limit_of_files_is_said() -> None:
    assert text(MB, most_files(MB)) == text(MB) == "at most 1048576 bytes"
    assert text(MB, 0) == "at most 1048576 bytes in any number of files" and text(MB, 5) == f"{text(MB)} in 5 files"
    assert text(0, 5) == "no limit"


def test_the_warning_names_one_and_says_what_to_do() -> None:
    (one,) = unenforced(["/srv/a"])
    (two,) = unenforced(["/srv/b", "/srv/a"])
    assert "1 directory such as /srv/a" in one and "2 directories such as /srv/a" in two and "docs/howto/disk.md" in two
    assert unenforced([]) == []


def test_drift_says_the_limits() -> None:
    assert (
        file_reason("/a", f"{text(0)}\n", f"{text(MB)}\n") == "/a has no limit on disk instead of at most 1048576 bytes"
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """On a file system without project quotas, as most are."""
    descriptor = os.open(tmp_path, os.O_RDONLY)
    assert not quotas.examine(descriptor).enforced
    os.close(descriptor)
    return tmp_path


def test_what_a_killed_run_has_marked_only_in_part_has_no_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lab that has a limit gets another folder, and the run is killed while it goes through that one."""
    limits: list[int] = []

    def call(descriptor: int, command: int, identity: int, buffer: Any) -> None:
        assert (descriptor, identity) == (3, OURS.project)
        limits.append(quotas._QUOTA.unpack(buffer.raw)[0] * 1024)

    def killed(directory: int, project: int) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(quotas, "_quotactl", call)
    monkeypatch.setattr(quotas, "examine", {3: OURS, 4: PLAIN}.__getitem__)
    monkeypatch.setattr(quotas.projects, "put_all", killed)
    with pytest.raises(KeyboardInterrupt):
        quotas.Quotas(False).ensure([(3, "/a"), (4, "/b")], MB)
    assert limits == [0]
    monkeypatch.setattr(quotas.projects, "put_all", lambda directory, project: True)
    assert quotas.Quotas(False).ensure([(3, "/a"), (4, "/b")], MB) == (text(0), text(MB))
    assert limits == [0, 0, MB]


def users(path: Path, check: bool, limit: int | None) -> UserDirectories:
    parameters: dict[str, Any] = {
        "path": f"{path}/users", "users": [{"name": "ada", "state": "present", "disk": limit}],
        "directories": [{"name": "home", "mode": "0700"}], "prune": "keep", "purge": False,
    }  # fmt: skip
    work = UserDirectories(parameters, check, os.getuid(), os.getgid())
    work.run()
    assert work.problems == []
    return work


def test_users_get_their_directories_and_the_report_says_that_limits_do_not_hold(folder: Path) -> None:
    for check in (True, False, True):
        warnings = users(folder, check, MB).warnings
        # In check mode, nobody knows of what is not there.
        assert warnings == unenforced([f"{folder}/users/ada"]) or (check and not (folder / "users").exists())
    again = users(folder, False, MB)
    assert again.before == again.after == [] and (folder / "users/ada/home").is_dir()
    assert users(folder, False, None).warnings == []


def test_labs_and_groups_the_same(folder: Path) -> None:
    tracker = Tracker()
    work = Installation(tracker, False)
    work.run([{"path": f"{folder}/notebooks"}], [], {}, [], [{"paths": [f"{folder}/notebooks"], "bytes": MB}])
    assert work.changed == [f"{folder}/notebooks"] and work.quotas.warnings() == unenforced(work.changed)
    made = group_directories.Directories(
        str(folder), Wanted(os.getuid(), os.getgid(), 0o2770, acl=True), False, {"maps": MB, "free": 0}
    )
    made.make(["free", "maps"])
    assert made.problems == [] and unenforced([f"{folder}/maps"])[0] in made.warnings()


def test_the_plan_hands_limits_to_users_groups_and_engines() -> None:
    groups = {
        "small": {"members": ["ada"], "disk": "2G"},
        "large": {"members": ["ada", "bob"], "disk": "3G", "mounts": [{"source": "maps", "disk": "9G"}]},
    }
    people = ["ada", {"name": "bob", "disk": "1G"}, "eve"]
    one = hub(users=people, groups=groups, limits={"disk": "500M"}, engine="tao", engine_disk="20G")
    result, problems = plan([one, lab(engine="tao", engine_disk="30G", disk="5G")])
    assert result, problems
    (found,) = result["hub_instances"]
    assert {user["name"]: user["disk"] for user in found["users"]} == {"ada": 3 << 30, "bob": 1 << 30, "eve": 500 * MB}
    assert next(group for group in found["groups"] if group["name"] == "large")["mounts"][0]["disk"] == 9 << 30
    assert result["rootless_docker_engines"] == [{"name": "tao", "state": "started", "disk": 30 << 30}]
    assert result["lab_instances"][0]["limits"]["disk"] == 5 << 30


def test_volumes_have_no_limits_and_the_plan_says_so() -> None:
    for limited in ({"limits": {"disk": "1G"}}, {"users": [{"name": "ada", "disk": "1G"}]}):
        result, problems = plan([hub(**{"users": ["ada"], "backend": "volumes", "users_view": "none", **limited})])
        assert result, problems
        assert any("do not hold with backend: volumes" in warning for warning in result["warnings"])
