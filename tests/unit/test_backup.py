# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role backup installs, what a run came to, and what the status says about backups."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.carrel.jupyter.plugins.module_utils._host import backup_state
from ansible_collections.carrel.jupyter.plugins.module_utils._report import backups, report
from ansible_collections.carrel.jupyter.plugins.module_utils._site import backup
from backup_helpers import COMMON, NOW, install, jobs
from carrel_backup import settings
from carrel_backup.state import bring_back
from test_install_files import run as run_module


def test_an_instance_adds_to_what_holds_for_all() -> None:
    (job,) = jobs(backup={"at": "04:00", "keep": {"daily": 14}})
    assert job["backup"]["repository"] == COMMON["repository"] and job["backup"]["at"] == "04:00"
    assert job["backup"]["keep"] == {"daily": 14, "weekly": 5, "monthly": 12, "yearly": 3}
    assert jobs(backup={"enabled": False})[0]["backup"] is None
    assert jobs(common={})[0]["backup"] is None
    assert jobs(state="absent")[0]["backup"] is None


def test_the_settings_are_those_that_the_program_reads() -> None:
    found = install(jobs())
    (text,) = [file["content"] for file in found["files"] if file["path"] == "/etc/carrel/backup/tao.json"]
    assert "a secret" not in json.dumps(found["files"])
    read = {**json.loads(text), **json.loads(found["secret_contents"]["/etc/carrel/backup/tao.secrets.json"])}
    assert settings.problems(read) == []
    assert read["repository"] == "rest:https://backup.example.org/geo1/tao"
    assert "a secret" not in repr(settings.of(read))
    modes = {file["path"]: file.get("mode") for file in found["files"]}
    assert modes["/etc/carrel/backup/tao.secrets.json"] == "0600"


def test_cron_starts_each_instance_at_its_own_minute() -> None:
    (line,) = [file["content"] for file in install(jobs())["files"] if "cron.d" in file["path"]]
    run, drill = line.splitlines()[-2:]
    minute, hour, *rest = run.split()
    assert rest == ["*", "*", "*", "root", "/usr/local/sbin/carrel-backup", "run", "tao"]
    assert 0 <= (60 * int(hour) + int(minute) - (23 * 60 + 30)) % 1440 <= 120
    assert drill.split()[4] == "0" and drill.endswith("carrel-backup drill tao")
    other = [job | {"name": "geo"} for job in jobs()]
    assert run != install(other)["files"][-1]["content"].splitlines()[-2].replace("geo", "tao")
    assert "drill" not in install(jobs(backup={"drill": False}))["files"][-1]["content"]


def test_what_has_no_backup_any_more_loses_its_files_and_its_job() -> None:
    absent = install(jobs(backup={"enabled": False}))["absent"]
    assert absent == [
        "/etc/carrel/backup/tao.json",
        "/etc/carrel/backup/tao.secrets.json",
        "/etc/cron.d/carrel-backup-tao",
    ]
    assert install(jobs(common={**COMMON, "at": None}))["absent"] == ["/etc/cron.d/carrel-backup-tao"]
    assert install(jobs(engine="nowhere"))["without_engine"] == ["tao"]
    assert backup.packages(jobs()) == ["restic", "uidmap", "cron"] and backup.packages(jobs(common={})) == []
    with pytest.raises(ValueError, match="backup_mailto"):
        install(jobs(), mailto="a\nb")


def test_what_is_about_to_be_removed_keeps_its_settings_for_a_last_backup() -> None:
    schedule, *settings_files = sorted(
        install(jobs(backup={"enabled": False}))["absent"], key=lambda path: "cron" not in path
    )
    there = install(jobs(state="absent"), instances=["tao"])
    assert there["absent"] == [schedule] and not there["secret_contents"] and not there["without_engine"]
    assert sorted(install(jobs(state="absent"))["absent"]) == sorted([schedule, *settings_files])
    refused = install(jobs(state="absent", backup={"enabled": False}), instances=["tao"])
    assert sorted(refused["absent"]) == sorted([schedule, *settings_files])


@pytest.mark.parametrize(
    ("code", "said", "state", "message", "flags"),
    [
        (0, "", {"message": "12 files"}, "12 files", (False, True, False)),
        (
            4,
            "",
            {"message": "12 files", "warnings": ["x could not be read"]},
            "x could not be read",
            (False, True, True),
        ),
        (3, "", {"message": "old"}, "try again later", (True, False, False)),
        (2, "carrel-backup: no settings", {}, "no settings", (True, False, False)),
        (1, "", {"message": "the password is not that"}, "the password is not that", (True, False, False)),
        (-9, "", {}, "exit code -9", (True, False, False)),
    ],
)
def test_what_a_run_came_to(code: int, said: str, state: dict[str, Any], message: str, flags: tuple[bool, ...]) -> None:
    outcome = backup.outcome("tao", "backup", code, said, state)
    assert message in outcome.message
    assert (outcome.failed, outcome.changed, outcome.warning) == flags


@pytest.mark.parametrize("state", [{}, {"result": "failed", "message": "of an older version"}])
def test_a_drill_before_the_first_backup_changes_nothing(state: dict[str, Any]) -> None:
    outcome = backup.outcome("tao", "drill", 0, "", state)
    assert outcome == backup.Outcome("drill of tao: there is no backup yet, so there is nothing to try")
    assert backup.outcome("tao", "drill", 0, "", {"result": "done", "message": "ada"}).changed


# What the status says


def status(since: timedelta = timedelta(days=30), locked: bool = False, **runs: Any) -> dict[str, Any]:
    state = json.dumps({"version": 1, "backup": None, "drill": None, **runs})
    return backups.read('{"at": "02:30", "drill": true}', state, locked, NOW - since)


def run(result: str, hours: float, **more: Any) -> dict[str, Any]:
    moment = (NOW - timedelta(hours=hours)).isoformat()
    good = {"ended": moment, "bytes": 1} if result == "done" else None
    return {"result": result, "step": "snapshot", "message": "why", "warnings": [], "started": moment, "ended": moment,
            "good": good, **more}  # fmt: skip


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (status(backup=run("done", 9), drill=run("done", 100)), []),
        (status(since=timedelta(hours=1)), []),
        (
            status(),
            [("error", "no good backup since 2029-12-11"), ("warning", "no restore was tried since 2029-12-11")],
        ),
        (status(backup=run("done", 60), drill=run("done", 9)), [("error", "no good backup since 2030-01-08")]),
        (
            status(
                backup=run("failed", 9, good={"ended": (NOW - timedelta(hours=30)).isoformat()}), drill=run("done", 9)
            ),
            [("error", "the last backup failed at step snapshot: why")],
        ),
        (
            status(backup=run("running", 9, good=run("done", 30)["good"]), drill=run("done", 9)),
            [("error", "was interrupted at step snapshot")],
        ),
        (status(backup=run("running", 1, good=run("done", 30)["good"]), drill=run("done", 9), locked=True), []),
        (
            status(backup=run("incomplete", 9, good=run("done", 9)["good"], warnings=["x"]), drill=run("done", 9)),
            [("warning", "not complete: x")],
        ),
        (status(backup=run("done", 9), drill=run("failed", 9)), [("error", "the last drill of a restore failed: why")]),
    ],
)
def test_problems_of_backups(found: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    problems = list(backups.problems(found, NOW))
    assert [level for level, _text in problems] == [level for level, _text in expected], problems
    assert all(text in said for (_level, text), (_other, said) in zip(expected, problems)), problems


def test_the_report_has_the_age_of_the_last_good_one() -> None:
    assert report._backup(status(backup=run("done", 9)), NOW) == "9 h ago"
    found = status(
        backup=run("done", 9), drill=run("failed", 2, good={"ended": "2030-01-09T12:00:00+00:00", "server": {}})
    )
    assert report._backup(found, NOW) == "9 h ago, drill 1 d ago" and found["drill"]["server"] is True
    odd = status(backup=run("done", 9), drill=run("done", 2, good="x"))
    assert report._backup(odd, NOW) == "9 h ago" and odd["drill"]["server"] is False
    assert report._backup(status(), NOW) == "never" and report._backup({}, NOW) == "-"


def test_a_restore_of_what_has_no_backups_fails() -> None:
    name = "tao-of-the-unit-tests"
    for check in (False, True):
        refused = run_module("instance_backup", check, name=name, command="restore")
        assert refused["failed"] and refused["msg"] == f"{name} has no backups: nothing was restored"
        assert run_module("instance_backup", check, name=name)["skipped"]


def test_a_host_that_cannot_be_reached_ends_a_restore() -> None:
    (play,) = yaml.safe_load((Path(__file__).parents[2] / "playbooks" / "restore.yml").read_text())
    assert play["any_errors_fatal"] is True


def test_an_instance_that_is_back_from_the_archive_shows_its_backups(tmp_path: Path) -> None:
    """carrel-backup moves the state back at its next command, perhaps a day later."""
    found = tmp_path / "etc/carrel/backup/tao.json"
    kept = tmp_path / "srv/tao/.backup/state.json"
    own = tmp_path / "var/lib/carrel/tao/backup/state.json"
    for path in (found, kept, own):
        path.parent.mkdir(parents=True)
    (text,) = [file["content"] for file in install(jobs())["files"] if file["path"] == "/etc/carrel/backup/tao.json"]
    found.write_text(text)

    def good() -> object:
        return (backup_state.read(str(tmp_path), "tao") or {})["good"]

    assert good() is None
    own.write_text(json.dumps({"backup": {"good": {"ended": "2030-01-01T00:00:00+00:00"}}}))
    assert good() == "2030-01-01T00:00:00+00:00"
    kept.write_text(json.dumps({"backup": {"good": {"ended": "2029-01-01T00:00:00+00:00"}}}))
    assert good() == "2029-01-01T00:00:00+00:00", "carrel-backup would use this one, too"
    bring_back(str(tmp_path / "srv/tao"), str(own.parent))
    assert good() == "2029-01-01T00:00:00+00:00" and not kept.exists()
