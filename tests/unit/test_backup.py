# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role backup installs, what a run came to, and what the status says about backups."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import carrel_backup.backup
import pytest
import yaml
from ansible_collections.carrel.jupyter.plugins.module_utils._report import backups, report
from ansible_collections.carrel.jupyter.plugins.module_utils._site import backup
from carrel_backup import __main__ as program
from carrel_backup import claims, containers, drill, inside, manifest, restore, settings, snapshots, targets
from carrel_backup.commands import Account, CommandError
from carrel_backup.journal import Journal
from carrel_backup.restic import Answer, Restic, ResticError
from carrel_backup.run import FAILED, BackupError, Run
from carrel_backup.state import State, bring_back
from carrel_backup.wanted import Wanted
from locks import is_free
from plan_helpers import lab, plan
from test_install_files import run as run_module

RANGE = {"start": 165536, "count": 65536}
ENGINES = {"tao": {"uid": 1001, "gid": 1001, "socket": "/run/user/1001/docker.sock", "subuid": RANGE, "subgid": RANGE}}
COMMON = {"repository": "rest:https://backup.example.org/geo1/", "password": "a secret", "at": "23:30"}
NOW = datetime(2030, 1, 10, 12, tzinfo=timezone.utc)


def jobs(common: dict[str, Any] | None = None, **keys: Any) -> list[dict[str, Any]]:
    result, problems = plan([lab(**keys)], backup=COMMON if common is None else common)
    assert result, problems
    found: list[dict[str, Any]] = result["backup_jobs"]
    return found


def install(found: list[dict[str, Any]], mailto: str = "root", instances: Sequence[str] = ()) -> dict[str, Any]:
    return backup.install(found, ENGINES, instances, "geo1", mailto, "program", {"run.py": "text"})


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


# What the program decides


SNAPSHOTS = [
    {"id": "aaaaaaaa11", "time": "2030-01-01T02:30:11.123456789Z", "of": "whole", "on": "geo1", "series": None},
    {"id": "bbbbbbbb22", "time": "2030-01-02T02:30:11.5Z", "of": "whole", "on": "geo1", "series": None},
    {"id": "cccccccc33", "time": "2030-01-02T15:00:00Z", "of": "user:ada", "on": "geo1", "series": None},
    {"id": "dddddddd44", "time": "2030-01-03T15:00:00Z", "of": "whole", "on": "geo2", "series": None},
]


def past(begun: str | None = "2030-01-01T02:30:00+00:00", series: str | None = None, *hosts: str) -> State:
    found = State("", "tao")
    found.content.update(begun=begun, series=series, past=list(hosts))
    return found


@pytest.mark.parametrize(
    ("wanted", "tags", "found"),
    [
        ("latest", ["whole"], "bbbbbbbb22"),
        ("latest", ["whole", "user:ada"], "cccccccc33"),
        ("aaaaaa", ["whole"], "aaaaaaaa11"),
        ("2030-01-01", ["whole"], "aaaaaaaa11"),
        ("2030-01-02T02:30+00:00", ["whole"], "aaaaaaaa11"),
        ("2030-01-09", ["whole"], "bbbbbbbb22"),
        ("dddddddd", ["whole"], "dddddddd44"),
    ],
)
def test_the_snapshot_that_is_meant(wanted: str, tags: list[str], found: str) -> None:
    assert snapshots.pick(SNAPSHOTS, wanted, tags, "geo1", past())["id"] == found


@pytest.mark.parametrize("wanted", ["2029-12-31", "eeeeee", "aaa", "cccccccc", "yesterday"])
def test_no_snapshot_is_meant(wanted: str) -> None:
    with pytest.raises(BackupError, match=f"no snapshot {wanted} of whole; carrel-backup snapshots lists them"):
        snapshots.pick(SNAPSHOTS, wanted, ["whole"], "geo1", past())


def test_after_a_move_the_other_hosts_count() -> None:
    assert snapshots.pick(SNAPSHOTS, "latest", ["whole"], "geo3", past())["id"] == "dddddddd44"


def test_a_snapshot_of_the_future_is_not_the_latest() -> None:
    """A host's clock was wrong once."""
    moment = datetime.now(timezone.utc)
    soon, ahead = (
        {**SNAPSHOTS[0], "id": name * 10, "time": (moment + timedelta(hours=hours)).isoformat()}
        for name, hours in (("a", 20), ("b", 28))
    )

    def picked(found: list[dict[str, Any]], wanted: str = "latest") -> object:
        return snapshots.pick(found, wanted, ["whole"], "geo1", past())["id"]

    assert picked([soon, ahead]) == "a" * 10, "clocks may differ a little"
    assert picked([ahead]) == "b" * 10, "or this host's clock is slow"
    assert picked([soon, ahead], "bbbbbb") == "b" * 10


def test_a_backup_names_snapshots_of_the_future(engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    ahead = datetime.now(timezone.utc) + timedelta(days=400)
    engine.restic = Repository(engine, {"id": "abcdefghij", **taken(ahead.isoformat(), "geo2")})
    engine.state.begin_past()
    carrel_backup.backup.check_past(engine, anew=False)
    assert "snapshots of the future, from a host whose clock was wrong: abcdefgh." in capsys.readouterr().err


def test_a_series_has_its_own_snapshots_alone() -> None:
    """Those of a removed instance with the same name on the same host are older ones, or newer ones if it is back."""
    second = {**SNAPSHOTS[1], "id": "eeeeeeee55", "series": BEGUN}
    everything = [SNAPSHOTS[0], second]

    def latest(state: State, found: Sequence[dict[str, Any]] = ()) -> object:
        return snapshots.pick(found or everything, "latest", ["whole"], "geo1", state)["id"]

    assert latest(past(series=BEGUN)) == "eeeeeeee55" and latest(past()) == "aaaaaaaa11"
    assert latest(past(begun=None)) == "eeeeeeee55", "a host that was lost may be restored from everything"
    with pytest.raises(BackupError, match=r"whole in this series; .* \(before --anew\): name one by its id"):
        latest(past(series=BEGUN), SNAPSHOTS)
    by_id = snapshots.pick(everything, "aaaaaaaa", ["whole"], "geo1", past(series=BEGUN))
    assert by_id["id"] == "aaaaaaaa11", "who names it gets it"
    tags = ["carrel", "on:geo1", f"since:{BEGUN}", "whole"]
    found = snapshots.described({"id": "x", "time": BEFORE, "tags": tags})
    assert (found["series"], found["of"], found["on"]) == (BEGUN, "whole", "geo1")
    odd = {"id": "x", "time": BEFORE, "tags": ["carrel", "since:a,on:geo2", "whole"]}
    assert snapshots.described(odd)["series"] is None, "the account can write tags"


def taken(moment: str, host: str, of: str = "whole") -> dict[str, Any]:
    return {"time": moment, "tags": ["carrel", f"on:{host}", of]}


BEFORE, BEGUN, AFTER = "2030-01-01T02:30:00Z", "2030-01-02T02:30:00+00:00", "2030-01-03T02:30:00.123456789Z"


@pytest.mark.parametrize(
    ("snapshots", "begun", "refused"),
    [
        ([], None, None),
        ([taken(BEFORE, "geo1", "user:ada")], None, None),
        ([taken(BEFORE, "geo1")], None, "this host has not been restored yet"),
        ([taken(BEFORE, "geo2")], None, "by the host geo2, and this host has not been restored yet"),
        ([taken(BEFORE, "geo2")], BEGUN, None),
        ([taken(AFTER, "geo1")], BEGUN, None),
        ([taken(BEFORE, "geo1"), taken(AFTER, "geo2-2eexample")], BEGUN, "another host's: geo2.example, not geo1"),
        ([taken(AFTER, "geo1"), taken("2040-01-01T00:00:00Z", "geo2")], BEGUN, None),
        ([taken(AFTER, "geo2"), taken("2040-01-01T00:00:00Z", "geo1")], BEGUN, "another host's: geo2, not geo1"),
        ([taken("2040-01-01T00:00:00Z", "geo1")], None, "this host has not been restored yet"),
    ],
)
def test_a_host_goes_on_with_its_own_past_alone(
    snapshots: list[dict[str, Any]], begun: str | None, refused: str | None
) -> None:
    said = carrel_backup.backup.another_past(snapshots, "geo1", begun, NOW)
    assert said is None if refused is None else refused in str(said)


def test_whose_a_directory_is() -> None:
    found = ["compose.yaml", "data/groups/g", "data/hub", "data/users/ada/home", "data/users/ada-40x/home"]
    assert [targets.user_of(leaf) for leaf in found] == [None, None, None, "ada", "ada@x"]
    assert targets.chosen(found, "ada", None) == ["data/users/ada/home"]
    assert targets.chosen(found, None, "g") == ["data/groups/g"]
    assert targets.chosen(found, "a*", None) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_repository_that_a_purge_took_is_given_to_the_next_account(tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    for name in ("data/00", "keys", "snapshots"):
        (repository / name).mkdir(parents=True)
    victim = tmp_path / "victim"
    victim.touch()
    os.link(victim, repository / "keys" / "hard")
    (repository / "keys" / "link").symlink_to(victim)
    targets.give(str(repository), 12345, 12345)
    assert repository.stat().st_uid == 0, "it is not one of restic's"
    (repository / "config").touch()
    targets.give(str(repository), 12345, 12345)
    assert repository.stat().st_uid == 0, "somebody else can enter it"
    repository.chmod(0o700)
    os.chown(repository / "data" / "00", 12340, 12340)
    targets.give(str(repository), 12345, 12345)
    owners = {name: (repository / name).stat().st_uid for name in (".", "config", "data", "data/00", "keys")}
    assert set(owners.values()) == {12345}, owners
    assert victim.stat().st_uid == 0
    os.chown(repository / "config", 12340, 12340)
    targets.give(str(repository), 12346, 12346)
    assert (repository / "config").stat().st_uid == 12340, "another account's is left alone"
    targets.give(str(tmp_path / "missing"), 12345, 12345)


def test_a_pattern_means_one_path_alone() -> None:
    assert restore.literal("a[1]*?\\$x") == "a\\[1]\\*\\?\\\\$x"


def test_the_state_remembers_what_was_good_and_what_was_interrupted(tmp_path: Path) -> None:
    path = str(tmp_path / "state.json")
    state = State(path, "tao")
    state.begin("backup", "all")
    state.finish("done", "12 files", 0, snapshot="abc")
    state = State(path, "tao")
    state.begin("backup", "all")
    state.step("snapshot", "begin")
    state = State(path, "tao")
    state.begin("drill", "all")
    assert state.interrupted == "backup at step snapshot"
    assert state.content["backup"]["result"] == "interrupted"
    assert state.content["backup"]["good"]["snapshot"] == "abc"
    assert [each["result"] for each in state.content["history"]] == ["interrupted", "done"]


# What the account may have written


def manifest_text(**more: Any) -> str:
    return json.dumps({"leaves": ["data/hub", "token"], "database": None, "samples": [], **more})


def test_a_manifest_is_read() -> None:
    text = manifest_text(database="jupyterhub.pgdump", samples=[{"path": "instance/data/hub/x"}])
    found = manifest.read(text, "hub")
    assert (found.leaves, found.database) == (["data/hub", "token"], "jupyterhub.pgdump")
    assert manifest.read(manifest_text(), "lab").database is None


def test_what_was_being_deleted_is_not_restored_from_an_old_snapshot() -> None:
    kept = ["data/hub", "data/users/.trashy/home", "data/users/ada/home"]
    deleted = ["data/users/.trash", "data/users/.trash/bob-20200101T000000Z/home"]
    assert manifest.read(manifest_text(leaves=sorted(kept + deleted)), "hub").leaves == kept
    with pytest.raises(BackupError, match="somebody changed it"):
        manifest.read(manifest_text(leaves=["data/users/.trash/../../../etc"]), "hub")


@pytest.mark.parametrize(
    "more",
    [
        {"database": "../../../../../../etc/shadow"},
        {"database": "/etc/shadow"},
        {"database": ["jupyterhub.sqlite"]},
        {"leaves": ["data/../../other/data/users/ada/home"]},
        {"leaves": ["/etc"]},
        {"leaves": ["data//hub"]},
        {"leaves": ["data/./hub"]},
        {"leaves": ["data/.kept"]},
        {"leaves": ["data/.restoring/x"]},
        {"leaves": [""]},
        {"leaves": [None]},
        {"leaves": "data"},
        {"samples": [{"path": 1}]},
        {"samples": None},
    ],
)
def test_a_manifest_leads_nowhere_else(more: dict[str, Any]) -> None:
    with pytest.raises(BackupError, match="somebody changed it"):
        manifest.read(manifest_text(**more), "hub")


def test_a_lab_has_no_database() -> None:
    with pytest.raises(BackupError, match="database"):
        manifest.read(manifest_text(database="jupyterhub.pgdump"), "lab")
    for text in ("[]", "{}", "x", "1"):
        with pytest.raises(BackupError, match="manifest is damaged"):
            manifest.read(text, "hub")


def test_no_part_of_an_opened_path_leads_up(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("x")
    os.close(targets.opened(f"{tmp_path}/file", os.O_RDONLY))
    with pytest.raises(OSError, match=r"\.\."):
        targets.opened(f"{tmp_path}/folder/../file", os.O_RDONLY)


# Who uses what is restored


class Engine(Run):
    """A stand-in for an engine: real ones are in the integration tests. RUNNING: containers, by their names."""

    running: list[str]
    said: list[str]
    broken: str = ""
    late: list[str]

    def containers(self, *_filters: str, running: bool = True) -> list[dict[str, str]]:
        own = "com.docker.compose.project=tao"
        return [{"ID": name, "Names": name, "Labels": "" if name == "ada" else own} for name in self.running]

    def docker(self, *arguments: str, **_more: Any) -> str:
        command, name = arguments
        self.said.append(f"{command} {name}")
        own = {each for each in self.running if each != "ada"}
        assert command == "start" or own <= recorded(self).keys(), "what to start is written down first"
        if self.broken and self.broken in f"{command} {name}":
            raise CommandError(f"docker {command}: {self.broken}")
        if command == "stop":
            self.running.remove(name)
            self.running += [self.late.pop()] if self.late else []
        return ""

    def inside(self, *arguments: str, **_more: Any) -> Any:
        return getattr(inside, arguments[0])(*arguments[1:])


def recorded(run: Run) -> dict[str, str]:
    found: dict[str, str] = json.loads(Path(run.state.path).read_text())["start"]
    return found


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """Its socket listens, and somebody's restore runs."""
    (text,) = [file["content"] for file in install(jobs())["files"] if file["path"] == "/etc/carrel/backup/tao.json"]
    content = {**json.loads(text), "password": "x", "environment": {}, "socket": str(tmp_path / "socket"),
               "directory": str(tmp_path), "state_directory": str(tmp_path / "state"),
               "run_directory": str(tmp_path / "run")}  # fmt: skip
    for name in ("state", "run"):
        (tmp_path / name).mkdir()
    account = Account("root", os.getuid(), os.getgid(), "/", frozenset(), ())
    state = State(str(tmp_path / "state.json"), "tao")
    found = settings.of(content)
    run = Engine(found, account, Restic(found, account), Journal("tao"), state, -1)
    run.running, run.said, run.late = ["hub"], [], []
    state.begin("restore", "all")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(found.socket)
        listener.listen()
        yield run


STOP = Wanted(overwrite=True, stop=True)


def test_who_began_meanwhile_is_stopped_too_and_only_the_instances_own_start_again(engine: Engine) -> None:
    engine.late = ["ada"]
    assert [each["ID"] for each in containers.stop(engine, [], True, may_stop=True)] == ["hub"]
    assert engine.said == ["stop hub", "stop ada"] and recorded(engine) == {"hub": "hub"}
    containers.start(engine)
    assert engine.said[2:] == ["start hub"] and recorded(engine) == {}


def test_who_began_meanwhile_is_not_stopped_unless_that_was_wanted(engine: Engine) -> None:
    with pytest.raises(containers.InUseError, match="hub uses the files to restore"):
        containers.stop(engine, [], True, may_stop=False)
    engine.late = ["hub", "hub", "hub"]
    with pytest.raises(containers.InUseError, match="started again"):
        containers.stop(engine, [], True, may_stop=True)


def test_a_restore_and_a_reset_are_not_at_work_at_once(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "FILE", f"{tmp_path}/claim-{{}}")
    monkeypatch.setattr(containers, "RESET_SECONDS", 1)
    monkeypatch.setattr(restore, "fetch", lambda *_arguments: None)
    monkeypatch.setattr(restore, "check_room", lambda *_arguments: None)

    def restored() -> str:
        try:
            restore.restore_leaves(engine, "abc", STOP, manifest.Manifest([], None, []), [])
        except containers.InUseError as error:
            return str(error)
        return "restored"

    assert restored() == "restored"  # it never was reset
    (tmp_path / "reset").mkdir()
    with (tmp_path / "reset" / "lock").open("w") as lock:
        assert restored() == "restored"
        with containers.resets_kept_out(engine), pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        engine.said, engine.running = [], ["hub"]
        assert restored().startswith("a reset of the instance is at work: nothing was restored")
        assert engine.said == []
        # A reset that ends meanwhile is waited for.
        monkeypatch.setattr(containers, "RESET_SECONDS", 60)
        monkeypatch.setattr(time, "sleep", lambda _seconds: fcntl.flock(lock, fcntl.LOCK_UN))
        assert restored() == "restored" and engine.said == ["stop hub", "start hub"]
    (tmp_path / "claim-tao").write_bytes(claims.claim("a playbook", 30))
    monkeypatch.setattr(containers, "RESET_SECONDS", -1)
    assert restored().startswith("a playbook is changing the instance's containers: nothing was restored")


def test_a_first_reset_is_kept_out_too(engine: Engine, tmp_path: Path) -> None:
    lock = tmp_path / "reset" / "lock"
    lock.parent.mkdir()
    with containers.resets_kept_out(engine):
        assert lock.stat().st_uid == engine.account.uid
        assert not is_free(lock)
    assert is_free(lock)


def test_a_claim_after_the_lock_is_seen_and_gets_the_instance(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "lock"
    path.touch()
    held = []

    def claimant(_name: str) -> str:
        held.append(not is_free(path))
        return "a playbook"

    monkeypatch.setattr(claims, "claimant", claimant)
    with path.open("r+") as lock:
        assert containers.others(engine, lock.fileno()) == "a playbook is changing the instance's containers"
        assert held == [True], "who claims later finds the lock taken"
        assert is_free(path)


def test_a_container_that_is_gone_is_no_error(engine: Engine) -> None:
    engine.state.owe({"hub": "hub"})
    engine.broken = "start hub"
    engine.docker = lambda *_arguments, **_more: fail("No such container: hub")  # type: ignore[method-assign]
    containers.start(engine)
    assert recorded(engine) == {} and engine.state.entry["warnings"] == []


def fail(text: str) -> str:
    raise CommandError(text)


def test_a_failed_stop_and_a_killed_restore_leave_a_note_for_the_next_run(engine: Engine) -> None:
    engine.running, engine.broken = ["hub", "ada"], "stop ada"
    with pytest.raises(CommandError, match="stop ada"):
        containers.stop(engine, [], True, may_stop=True)
    engine.state = State(engine.state.path, "tao")
    engine.state.begin("backup", "all")
    engine.broken = "start hub"
    containers.start(engine)
    assert "does not start; the next run tries again" in engine.state.entry["warnings"][0]
    engine.broken = ""
    containers.start(engine)
    assert engine.said[-1] == "start hub" and recorded(engine) == {}


def test_a_full_disk_stops_nothing_and_starts_what_is_stopped(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    engine.running = ["hub", "proxy", "ada"]
    path, engine.state.path = engine.state.path, "/dev/full/state.json"
    with pytest.raises(containers.UntouchedError, match="cannot be written, so nothing was restored"):
        containers.stop(engine, [], True, may_stop=True)
    assert engine.said == []
    engine.state.path = path
    containers.stop(engine, [], True, may_stop=True)
    engine.state = State(path, "tao")  # after a kill, and the disk has filled up
    engine.state.path = "/dev/full/state.json"
    engine.said = []
    monkeypatch.setattr(Run, "prepare", lambda _self: fail("no space left on device"))
    assert program.act(engine, "restore", program.arguments(["restore", "tao"])) == FAILED
    assert engine.said == ["start hub", "start proxy"] and engine.state.owed == {}
    said = capsys.readouterr().err
    assert "failed: no space left on device" in said and "/dev/full/state.json could not be written" in said


def test_only_an_engine_that_is_not_there_has_no_containers(engine: Engine) -> None:
    engine.containers = lambda *_filters, **_more: fail("no answer")  # type: ignore[method-assign,assignment]
    with pytest.raises(CommandError, match="no answer"):
        containers.using(engine, [], True)
    os.unlink(engine.settings.socket)
    assert containers.using(engine, [], True) == []


def test_the_tree_of_a_move_to_this_host_is_left_alone(engine: Engine, tmp_path: Path) -> None:
    beside = Path(engine.settings.directory, restore.BESIDE)
    for name in (restore.MOVING, "20300101T000000Z"):
        (beside / name).mkdir(parents=True)
    move = tmp_path / "move" / "move.json"
    move.parent.mkdir()
    move.touch()
    restore.put_old_aside(engine)
    assert os.listdir(beside) == [restore.MOVING]
    move.unlink()  # given up
    restore.put_old_aside(engine)
    assert os.listdir(beside) == []


def test_a_refusal_keeps_no_copy_of_what_was_fetched(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restore, "fetch", lambda *_arguments: None)  # restic is in the integration tests
    with pytest.raises(containers.InUseError), restore.fetched(engine, "abc", []):
        raise containers.InUseError("ada uses it")
    assert os.listdir(f"{engine.settings.directory}/data/.restoring") == []


# What restic is asked for


class Repository(Restic):
    """A stand-in for restic: the real one is in the integration tests."""

    def __init__(self, run: Run, *snapshots: dict[str, Any]) -> None:
        super().__init__(run.settings, run.account)
        self.there = list(snapshots)
        self.asked: list[tuple[str, ...]] = []

    def snapshots(self) -> list[dict[str, Any]]:
        return self.there

    def call(self, *arguments: str, **_more: Any) -> Answer:
        self.asked.append(arguments)
        return Answer(0, {}, [], [])


def test_a_list_of_snapshots_drives_no_terminal(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    engine.restic = Repository(engine, {"id": "abcdefgh", **taken(AFTER, "-1b-5b2-4a", "user:\x1b[2J")})
    found = snapshots.listed(engine)
    assert found[0]["on"] == "\x1b[2J"
    monkeypatch.setattr(program, "listed", lambda _run: found)
    assert program.look(engine.settings, engine.account, program.arguments(["snapshots", "tao"])) == 0
    said = capsys.readouterr().out
    assert "abcdefgh" in said and "\x1b" not in said


def test_a_table_of_snapshots_has_whole_names() -> None:
    counts = {"files": 14, "files_new": 14, "files_changed": 0, "bytes": 1, "added_bytes": 1}
    whole = {"id": "3cf1172b84ca", "time": "2030-01-01T02:30:11Z", "of": "whole", "on": "geo1.informatics.uni.example"}
    user = {**whole, "of": "user:maximilian-von-mus--uni-example", "on": None}
    long = {**whole, "on": "x" * 20_000}
    lines = backup.table([{**each, **counts} for each in (whole, user)])
    assert [line.split()[2:4] for line in lines[1:]] == [[whole["of"], whole["on"]], [user["of"], "?"]]
    assert len({line.index(word) for line, word in zip(lines, ("HOST", "geo1", "?"))}) == 1, "one column"
    assert len({len(line) for line in lines}) == 1
    assert len(backup.table([{**each, **counts} for each in (whole, long)])[1]) < 300, "not padded without end"
    assert backup.table([]) == []


def test_a_new_host_begins_beside_an_old_past_only_if_told(engine: Engine) -> None:
    engine.restic = Repository(engine, {"id": "abc", **taken(AFTER, "geo1")})
    with pytest.raises(BackupError, match="--anew"):
        carrel_backup.backup.check_past(engine, anew=False)
    assert State(engine.state.path, "tao").begun is None
    engine.state.content["past"] = ["geo2"]
    carrel_backup.backup.check_past(engine, anew=True)
    state = State(engine.state.path, "tao")
    assert state.begun and state.series and state.past == []
    carrel_backup.backup.check_past(engine, anew=False)
    assert State(engine.state.path, "tao").content == state.content


def test_no_drill_uses_the_backups_of_a_removed_instance(engine: Engine) -> None:
    engine.restic = Repository(engine, {"id": "abc", **taken(AFTER, "geo1")})
    with pytest.raises(BackupError, match="perhaps of a removed instance, and this one has neither made nor restored"):
        drill.drill(engine, None)


def test_the_state_of_an_archive_that_is_back_is_used_again(tmp_path: Path) -> None:
    kept, here = tmp_path / "srv" / ".backup", tmp_path / "backup"
    kept.mkdir(parents=True)
    here.mkdir()
    bring_back(str(tmp_path / "srv"), str(here))
    assert list(here.iterdir()) == []
    (kept / "state.json").write_text('{"version": 1, "begun": "2030"}')
    (kept / "leaves.json").write_text("[]")
    for _unused in range(2):
        bring_back(str(tmp_path / "srv"), str(here))
        assert State(str(here / "state.json"), "tao").begun == "2030" and (here / "leaves.json").read_text() == "[]"
        assert list(kept.iterdir()) == []


def test_a_whole_restore_makes_the_other_hosts_past_its_own(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = snapshots.described({**taken(AFTER, "geo2"), "id": "abc"})
    monkeypatch.setattr(restore, "pick", lambda *_arguments: chosen)
    monkeypatch.setattr(restore, "listed", lambda _run: [chosen])
    monkeypatch.setattr(restore, "restore_leaves", lambda *_arguments: None)
    leaf = "data/users/ada/home"
    monkeypatch.setattr(restore, "manifest_of", lambda *_arguments: manifest.Manifest([leaf], None, []))
    restore.restore(engine, "latest", Wanted(user="ada"))
    assert State(engine.state.path, "tao").past == []
    for _unused in range(2):
        restore.restore(engine, "latest", Wanted())
        assert State(engine.state.path, "tao").past == ["geo2"]
    chosen.update(on="geo3", series=BEGUN)
    restore.restore(engine, "latest", Wanted())
    state = State(engine.state.path, "tao")
    assert (state.past, state.series) == (["geo3"], BEGUN), "only those of the series that goes on"


def test_a_host_forgets_its_own_snapshots_alone(engine: Engine) -> None:
    engine.restic = repository = Repository(engine)
    carrel_backup.backup.forget(engine)
    (asked,) = [each for each in repository.asked if each[0] == "forget"]
    assert asked[1] == "--tag=carrel,on:geo1"
    engine.state.begin_anew()
    carrel_backup.backup.forget(engine)
    assert repository.asked[-1][1] == f"--tag=carrel,on:geo1,since:{engine.state.series}"


@pytest.mark.parametrize(("hours", "due"), [(0, False), (-167, False), (-169, True), (169, True)])
def test_space_is_freed_once_a_week_also_after_a_clock_was_wrong(tmp_path: Path, hours: int, due: bool) -> None:
    path = tmp_path / "pruned"
    path.write_text((datetime.now(timezone.utc) + timedelta(hours=hours)).isoformat())
    assert carrel_backup.backup.is_due(str(path)) is due


def test_a_list_of_snapshots_leaves_no_password_behind(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    run_directory = Path(engine.settings.run_directory)
    there: list[str] = []
    monkeypatch.setattr(program, "listed", lambda _run: there.extend(os.listdir(run_directory)) or [])
    assert program.look(engine.settings, engine.account, program.arguments(["snapshots", "tao", "--json"])) == 0
    assert there == [f"password.{os.getpid()}"]
    assert list(run_directory.iterdir()) == []


# Room


def sizes(engine: Engine, **found: int) -> None:
    class Sizes(Restic):
        def size(self, snapshot: str, paths: Sequence[str]) -> int:
            return sum(size for name, size in found.items() for path in paths if name in path)

    engine.restic = Sizes(engine.settings, engine.account)


def test_a_restore_and_a_drill_leave_room_to_people(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    free = restore.room(engine)
    status = os.statvfs(engine.settings.directory)
    assert free < status.f_frsize * status.f_bavail
    monkeypatch.setattr(restore, "room", lambda _run: 100)
    sizes(engine, ada=101, grace=60, database=30)
    with pytest.raises(BackupError, match="free some space, or restore a part"):
        restore.check_room(engine, "abc", ["instance/data/users/ada/home"])
    restore.check_room(engine, "abc", ["instance/data/users/grace/home", "stage/database/x"])
    leaves = ["data/users/ada/home", "data/users/grace/home"]
    for _unused in range(10):
        found = drill.candidates(manifest.Manifest(leaves, None, []))
        assert drill.choose(engine, "abc", found, ["stage/database/x"]) == ("the user grace", leaves[1:])
    with pytest.raises(BackupError, match="nothing was tried"):
        drill.choose(engine, "abc", [("the user ada", leaves[:1])], [])


def test_a_whole_restore_and_a_part_ask_for_room_before_they_fetch(engine: Engine) -> None:
    leaf = "data/users/ada/home"
    sizes(engine, ada=2**62)
    found = manifest.Manifest([leaf], None, [])
    with pytest.raises(BackupError, match="free some space"):
        restore.restore_leaves(engine, "abc", STOP, found, [leaf])
    with pytest.raises(BackupError, match="free some space"):
        restore.restore_path(engine, {"id": "abc"}, Wanted(user="ada", path="x"), found)
    assert not os.path.exists(f"{engine.settings.directory}/data/.restoring")


LS = """
import json, sys
print(json.dumps({"message_type": "snapshot", "size": 1000}))
for kind, size in (("dir", 4096), ("file", 3), ("file", 2**40), ("symlink", 7), ("file", None)):
    print(json.dumps({"message_type": "node", "type": kind, "path": sys.argv[-1], "size": size}))
if sys.argv[-1] == "/missing":
    sys.exit("no such snapshot")
"""


class Process(Account):
    """restic is a program that answers like it."""

    def mapped(self) -> list[str]:
        return [sys.executable, "-c", LS]


def test_the_size_of_what_a_snapshot_has(engine: Engine) -> None:
    asked = Restic(engine.settings, Process("root", os.getuid(), os.getgid(), "/", frozenset(), ()))
    assert asked.size("abc", ["instance/data"]) == 2**40 + 3
    with pytest.raises(ResticError, match="no such snapshot"):
        asked.size("abc", ["missing"])


MANY = """
import json
for number in range(300_000):
    path = f"/instance/data/users/ada/home/{number:0200}"
    print(json.dumps({"message_type": "node", "type": "file", "path": path, "uid": 1, "inode": 1, "name": path}))
print(json.dumps({"message_type": "node", "type": "dir", "path": "/instance/data/users/ada/homes"}))
"""


class Large(Account):
    def mapped(self) -> list[str]:
        return [sys.executable, "-c", MANY]


def test_a_drill_compares_however_many_files_there_are(engine: Engine) -> None:
    engine.restic = Restic(engine.settings, Large("root", os.getuid(), os.getgid(), "/", frozenset(), ()))
    found = drill.contents(engine, "abc", ["instance/data/users/ada/home"])
    assert len(found) == 300_000 and set(found[0]) == {"type", "path", "uid"}


def test_a_restore_of_what_has_no_backups_fails() -> None:
    name = "tao-of-the-unit-tests"
    for check in (False, True):
        refused = run_module("instance_backup", check, name=name, command="restore")
        assert refused["failed"] and refused["msg"] == f"{name} has no backups: nothing was restored"
        assert run_module("instance_backup", check, name=name)["skipped"]


def test_a_host_that_cannot_be_reached_ends_a_restore() -> None:
    (play,) = yaml.safe_load((Path(__file__).parents[2] / "playbooks" / "restore.yml").read_text())
    assert play["any_errors_fatal"] is True


def test_a_file_without_permissions_is_compared(tmp_path: Path) -> None:
    path = tmp_path / "closed"
    path.touch(mode=0o000)
    path.chmod(0)
    status = path.stat()
    node = {"type": "file", "path": "/closed", "uid": status.st_uid, "gid": status.st_gid}
    assert list(inside.different(node, status)) == []
    path.chmod(0o600)
    assert list(inside.different(node, path.stat())) == ["its mode is 0600, not 0000"]
