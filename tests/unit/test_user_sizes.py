# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The disk usage of users: measured by the host's program, shown in the status and on the hub's pages."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import status_samples as samples
import yaml
from ansible_collections.carrel.jupyter.plugins.module_utils._host import user_sizes
from ansible_collections.carrel.jupyter.plugins.module_utils._report import report, status
from ansible_collections.carrel.jupyter.plugins.module_utils._shared import disk
from ansible_collections.carrel.jupyter.plugins.module_utils._shared.disk import Use
from carrel_hub import config as hub_config
from carrel_hub import disk as hub_disk
from installed_modules import imported, install
from test_hub_image import CONFIG, SECRETS

ROOT = Path(__file__).parents[2]
GB = 1 << 30
THEN = "2030-01-09T03:37:00+00:00"


@pytest.fixture
def host(tmp_path: Path) -> Path:
    root = tmp_path / "host"
    for folder in ("run", "srv/class101/hub", "srv/class101/data/users/.archive/old"):
        (root / folder).mkdir(parents=True)
    for name, state, kind in (("class101", "present", "hub"), ("tao", "present", "lab"), ("gone", "held", "hub")):
        record = root / "var/lib/carrel" / name / "instance.json"
        record.parent.mkdir(parents=True)
        record.write_text(json.dumps({"name": name, "kind": kind, "state": state, "directory": f"/srv/{name}"}))
    for name, size in (("ada-40uni-2eexample", 300), ("bob", 100)):
        home = root / "srv/class101/data/users" / name / "home"
        home.mkdir(parents=True)
        (home / "file").write_bytes(os.urandom(size << 10))
        (home / "link").symlink_to("/usr")
    return root


def measured(host: Path) -> dict[str, Use]:
    return disk.uses(json.loads((host / "srv/class101/hub/disk.json").read_text()))


def test_users_are_measured_by_name(host: Path) -> None:
    assert user_sizes.main(["all"], str(host)) == 0
    found = measured(host)
    assert found.keys() == {"ada@uni.example", "bob"}
    assert 300 << 10 <= found["ada@uni.example"].bytes < 400 << 10 and 100 << 10 <= found["bob"].bytes < 200 << 10
    path = host / "srv/class101/hub/disk.json"
    assert path.stat().st_mode & 0o777 == 0o640 and path.stat().st_gid == (host / "srv/class101/hub").stat().st_gid


def test_a_hub_that_cannot_be_measured_leaves_the_others_their_sizes(
    host: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (host / "srv/atlas/data/users/eve").mkdir(parents=True)
    (host / "var/lib/carrel/atlas").mkdir()
    record = {"name": "atlas", "kind": "hub", "state": "present", "directory": "/srv/atlas"}
    (host / "var/lib/carrel/atlas/instance.json").write_text(json.dumps(record))
    there = user_sizes.directory_bytes

    def fails(directory: str, *given: Any) -> int | None:
        if directory.endswith("eve"):
            raise OverflowError("too large")
        return there(directory, *given)

    monkeypatch.setattr(user_sizes, "directory_bytes", fails)
    assert user_sizes.main(["all"], str(host)) == 1
    assert "carrel-disk: atlas: too large" in capsys.readouterr().err
    assert measured(host).keys() == {"ada@uni.example", "bob"}


@pytest.mark.parametrize("count", [True, -1, 2**63, 10**400, 1.5, float("nan"), "5", None, [5]])
def test_a_size_that_is_none_is_refused(count: Any) -> None:
    with pytest.raises(ValueError, match="the size of 'ada' is none"):
        disk.uses({"version": 1, "users": {"ada": {"bytes": count, "measured": THEN}}})


def test_who_left_is_dropped_and_without_quotas_the_hourly_run_adds_nothing_up(host: Path) -> None:
    user_sizes.main(["all"], str(host))
    shutil.rmtree(host / "srv/class101/data/users/bob")
    (host / "srv/class101/data/users/eve").mkdir()
    assert user_sizes.main(["quotas"], str(host)) == 0
    assert measured(host).keys() == {"ada@uni.example"}


def test_the_night_goes_on_with_those_measured_longest_ago(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    former = {"ada@uni.example": Use(1, THEN), "bob": Use(2, THEN.replace("09T", "08T"))}
    (host / "srv/class101/hub/disk.json").write_text(json.dumps(disk.content(former)))
    (host / "srv/class101/data/users/new").mkdir()
    asked = []

    def slow(directory: str, seconds: float, notes: Sequence[str]) -> int | None:
        asked.append(os.path.basename(directory))
        if len(asked) == 2:
            monkeypatch.setattr(user_sizes, "HOURS_A_HUB", 0)
            monkeypatch.setattr(user_sizes.time, "monotonic", lambda: float("inf"))
        return 5

    monkeypatch.setattr(user_sizes, "directory_bytes", slow)
    assert user_sizes.main(["all"], str(host)) == 0
    assert asked == ["new", "bob"]
    found = measured(host)
    assert found["ada@uni.example"] == former["ada@uni.example"] and found["bob"].bytes == found["new"].bytes == 5


def test_who_cannot_be_measured_in_time_keeps_nobody_else_from_it(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("huge", "large"):
        (host / "srv/class101/data/users" / name).mkdir()
    asked = []

    def slow(directory: str, seconds: float, notes: Sequence[str]) -> int | None:
        asked.append(os.path.basename(directory))
        return None if asked[-1] in ("huge", "large") else 5

    monkeypatch.setattr(user_sizes, "directory_bytes", slow)
    for order in (["ada-40uni-2eexample", "bob", "huge", "large"], ["ada-40uni-2eexample", "bob", "huge", "large"]):
        asked.clear()
        assert user_sizes.main(["all"], str(host)) == user_sizes.main(["quotas"], str(host)) == 0
        assert asked == order
        assert json.loads((host / "srv/class101/hub/disk.json").read_text())["late"] == ["huge", "large"]
    monkeypatch.undo()
    assert user_sizes.main(["all"], str(host)) == 0
    assert "late" not in json.loads((host / "srv/class101/hub/disk.json").read_text()) and len(measured(host)) == 4


def test_one_run_at_a_time_and_a_hub_that_fails_stops_no_other(host: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (host / "run/carrel-disk.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert user_sizes.main(["all"], str(host)) == 0
        assert not (host / "srv/class101/hub/disk.json").exists()
    (host / "srv/gone/data").mkdir(parents=True)
    (host / "srv/gone/data/users").symlink_to("/etc")
    (host / "var/lib/carrel/broken").mkdir()
    (host / "var/lib/carrel/broken/instance.json").write_text("{")
    assert user_sizes.main(["all"], str(host)) == 1
    assert "carrel-disk: gone: " in capsys.readouterr().err and len(measured(host)) == 2
    assert user_sizes.main(["some"], str(host)) == 2


def test_a_damaged_file_is_measured_anew(host: Path) -> None:
    for text in ("{", "[]", '{"version": 2}', '{"version": 1, "users": {"bob": 5}}'):
        (host / "srv/class101/hub/disk.json").write_text(text)
        assert user_sizes.main(["all"], str(host)) == 0
        assert len(measured(host)) == 2


@pytest.mark.parametrize(
    ("size", "limits", "much"),
    [
        (9 * GB, {"disk": 10 * GB}, True),
        (9 * GB - 1, {"disk": 10 * GB}, False),
        (9 * GB, {"disk": 10 * GB, "disk_warning": 9 * GB + 1}, False),
        (8 * GB, {"disk": None, "disk_warning": 8 * GB}, True),
        (10**15, {"disk": None}, False),
        (10**15, {}, False),
    ],
)
def test_from_where_on_it_is_much(size: int, limits: dict[str, Any], much: bool) -> None:
    assert disk.is_much(Use(size, THEN), limits) is much
    assert (disk.notice(Use(size, THEN), limits) is not None) is much


def test_the_status_lists_users_and_warns() -> None:
    names = ["ada", "bob", "eve", "joe", "mia", "zoe", "left", "free"]
    uses = {name: Use((10 - number) * GB, THEN) for number, name in enumerate(names)}
    limits = {"disk": 4 * GB, "disk_warning": None}
    roster = {"users": dict.fromkeys(names[:6], limits) | {"free": {}}}
    sizes = status.sizes(json.dumps(roster), json.dumps(disk.content(uses)))
    assert [entry["name"] for entry in sizes] == [*names[:6], "free"]
    assert sizes[0] == {
        "name": "ada", "bytes": 10 * GB, "limit": 4 * GB, "much": True, "text": "10.0 GiB of 4.0 GiB",
        "measured": "2030-01-09 03:37 UTC",
    }  # fmt: skip
    found = samples.found(kind="hub", users={"known": 7, "servers": 0, "sizes": sizes})
    texts = [problem["text"] for problem in status.examine(found, samples.NOW)["problems"]]
    wanted = "folders of users are nearly full: ada (10.0 GiB of 4.0 GiB), bob (9.0 GiB of 4.0 GiB), "
    (text,) = [text for text in texts if text.startswith(wanted)]
    assert text.endswith(" and 1 more")
    assert status.sizes("", None) == []
    shown = list(report._sizes({"sizes": [{**sizes[0], "name": "a\x1b[31m"}]}))
    assert shown and "\x1b" not in shown[0] and "10.0 GiB of 4.0 GiB, 2030-01-09 03:37 UTC" in shown[0]


def test_the_status_warns_of_a_full_lab() -> None:
    for size, texts in ((9 * GB, ["its folders take 9.0 GiB of 10.0 GiB"]), (GB, [])):
        found = samples.found(disk=samples.disk(limit={"bytes": size, "most": 10 * GB, "files": 5}))
        assert [problem["text"] for problem in status.examine(found, samples.NOW)["problems"]] == texts


def test_the_hub_tells_its_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_disk, "DIRECTORY", tmp_path)
    monkeypatch.setattr("carrel_hub.people.DIRECTORY", tmp_path)
    assert hub_disk.notice("ada") is None
    user = {"identity": "ada", "admin": False, "disk": 10 * GB}
    (tmp_path / "roster.json").write_text(json.dumps({"version": 1, "users": {"ada": user}, "blocked": []}))
    (tmp_path / "config.json").write_text(json.dumps({"limits": {"disk": GB, "disk_warning": None}}))
    uses = {"ada": Use(10 * GB, THEN), "guest": Use(GB * 9 // 10, THEN), "eve": Use(1, THEN)}
    (tmp_path / "disk.json").write_text(json.dumps(disk.content(uses)))
    said = hub_disk.notice("ada")
    assert said and "10.0 GiB of 10.0 GiB on disk, as of 2030-01-09 03:37 UTC" in said
    assert "922 MiB of 1.0 GiB" in str(hub_disk.notice("guest"))  # who is not listed has the hub's limits
    assert hub_disk.notice_of(SimpleNamespace(name="ada")) == said and hub_disk.notice_of(None) is None
    assert hub_disk.notice("eve") is None and hub_disk.notice("nobody") is None
    # as JupyterHub does with what is callable in template_vars
    notice_ofs = hub_config.traits(CONFIG, SECRETS, tmp_path)["JupyterHub"]["template_vars"]["carrel_disk"]
    assert notice_ofs(SimpleNamespace(name="ada")) == said and notice_ofs(None) is None
    (tmp_path / "disk.json").write_text("{")
    assert hub_disk.notice("ada") is None


def test_the_program_needs_only_what_the_role_installs(host: Path, tmp_path: Path) -> None:
    modules = yaml.safe_load((ROOT / "roles/hub/vars/main.yml").read_text())["__hub_disk_modules"]
    assert set(modules) == imported("_host/user_sizes.py")
    install(modules, tmp_path / "library")
    program = (ROOT / "roles/hub/files/carrel-disk").read_text()
    program = program.replace("/usr/local/lib/carrel/disk", str(tmp_path / "library"))
    program = program.replace("main(sys.argv[1:])", f"main(sys.argv[1:], {str(host)!r})")
    subprocess.run([sys.executable, "-I", "-B", "-c", program, "all"], check=True)
    now = datetime.now(timezone.utc)
    assert all(
        abs((now - datetime.fromisoformat(use.measured)).total_seconds()) < 60 for use in measured(host).values()
    )


@pytest.mark.parametrize(("files", "much"), [(0, False), (1_179_647, False), (1_179_648, True), (1_310_720, True)])
def test_many_files_are_said_too(files: int, much: bool) -> None:
    use, limits = Use(GB, THEN, files), {"disk": 10 * GB, "disk_warning": None}
    said = disk.notice(use, limits)
    assert disk.is_much(use, limits) is (said is not None) is much
    assert not much or f"1.0 GiB of 10.0 GiB, with {files} of 1310720 files" in str(said)
    assert not disk.is_much(use, {"disk": None, "disk_warning": 2 * GB}), "without a limit"
    assert disk.uses(disk.content({"ada": use})) == {"ada": use}
    found = samples.found(disk=samples.disk(limit={"bytes": GB, "most": 10 * GB, "files": files}))
    assert bool(status.examine(found, samples.NOW)["problems"]) is much


@pytest.mark.parametrize("files", [-1, True, "5", 1 << 63, None])
def test_a_wrong_number_of_files_is_refused(files: object) -> None:
    with pytest.raises(ValueError, match="'ada' is none"):
        disk.uses({"version": 1, "users": {"ada": {"bytes": 1, "measured": THEN, "files": files}}})
