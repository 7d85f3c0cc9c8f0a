# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which snapshots are an instance's, which one is meant, and what the state remembers."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import carrel_backup.backup
import pytest
from ansible_collections.carrel.jupyter.plugins.module_utils._site import backup
from backup_helpers import (
    AFTER,
    BEFORE,
    BEGUN,
    NOW,
    Engine,
    Repository,
    taken,
)
from carrel_backup import __main__ as program
from carrel_backup import drill, manifest, past, restore, snapshots
from carrel_backup.restic import ResticError
from carrel_backup.run import FAILED, BackupError
from carrel_backup.state import State, bring_back
from carrel_backup.wanted import Wanted

SNAPSHOTS = [
    {"id": "aaaaaaaa11", "time": "2030-01-01T02:30:11.123456789Z", "of": "whole", "on": "geo1", "series": None},
    {"id": "bbbbbbbb22", "time": "2030-01-02T02:30:11.5Z", "of": "whole", "on": "geo1", "series": None},
    {"id": "cccccccc33", "time": "2030-01-02T15:00:00Z", "of": "user:ada", "on": "geo1", "series": None},
    {"id": "dddddddd44", "time": "2030-01-03T15:00:00Z", "of": "whole", "on": "geo2", "series": None},
]


def begun_as(begun: str | None = "2030-01-01T02:30:00+00:00", series: str | None = None, *hosts: str) -> State:
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
    assert snapshots.pick(SNAPSHOTS, wanted, tags, "geo1", begun_as())["id"] == found


@pytest.mark.parametrize("wanted", ["2029-12-31", "eeeeee", "aaa", "cccccccc", "yesterday"])
def test_no_snapshot_is_meant(wanted: str) -> None:
    with pytest.raises(BackupError, match=f"no snapshot {wanted} of whole; carrel-backup snapshots lists them"):
        snapshots.pick(SNAPSHOTS, wanted, ["whole"], "geo1", begun_as())


def test_after_a_move_the_other_hosts_count() -> None:
    assert snapshots.pick(SNAPSHOTS, "latest", ["whole"], "geo3", begun_as())["id"] == "dddddddd44"


def test_a_snapshot_of_the_future_is_not_the_latest() -> None:
    """A host's clock was wrong once."""
    moment = datetime.now(timezone.utc)
    soon, ahead = (
        {**SNAPSHOTS[0], "id": name * 10, "time": (moment + timedelta(hours=hours)).isoformat()}
        for name, hours in (("a", 20), ("b", 28))
    )

    def picked(found: list[dict[str, Any]], wanted: str = "latest") -> object:
        return snapshots.pick(found, wanted, ["whole"], "geo1", begun_as())["id"]

    assert picked([soon, ahead]) == "a" * 10, "clocks may differ a little"
    assert picked([ahead]) == "b" * 10, "or this host's clock is slow"
    assert picked([soon, ahead], "bbbbbb") == "b" * 10


def test_a_backup_names_snapshots_of_the_future(engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    ahead = datetime.now(timezone.utc) + timedelta(days=400)
    engine.restic = Repository(engine, {"id": "abcdefghij", **taken(ahead.isoformat(), "geo2")})
    engine.state.begin_past()
    past.check_past(engine, anew=False)
    assert "snapshots of the future, by the clock of this host: abcdefgh." in capsys.readouterr().err


NIGHT = datetime(2030, 1, 10, 2, 30, tzinfo=timezone.utc)


def at(nights: float, name: str, host: str = "geo1", *tags: str) -> dict[str, Any]:
    return {"id": name * 10, **taken((NIGHT + timedelta(days=nights)).isoformat(), host, *tags)}


@pytest.mark.parametrize(
    ("others", "series", "ahead"),
    [
        ([at(-1, "a"), at(-2, "b", "geo2")], None, []),
        ([at(-1, "a"), *(at(2190 + night, name) for night, name in enumerate("bcd"))], None, ["b", "c", "d"]),
        ([at(1 / 24, "a")], None, ["a"]),
        ([at(400, "a", "geo1", "user:ada")], None, ["a"]),
        ([at(400, "a", "geo2")], None, []),
        ([at(400, "a", "geo1", f"since:{BEGUN}", "whole")], None, []),
        ([at(400, "a")], BEGUN, []),
        ([at(400, "a", "geo1", f"since:{BEGUN}", "whole")], BEGUN, ["a"]),
    ],
)
@pytest.mark.parametrize("append_only", [False, True])
def test_snapshots_of_the_future_displace_no_right_ones(
    engine: Engine, others: list[dict[str, Any]], series: str | None, ahead: list[str], append_only: bool
) -> None:
    """restic keeps the latest ones: it would remove the backup just made."""
    engine.settings = replace(engine.settings, append_only=append_only)
    engine.state.content["series"] = series
    own = at(0, "z", "geo1", *(["whole"] if series is None else [f"since:{series}", "whole"]))
    engine.restic = repository = Repository(engine, own, *others)
    carrel_backup.backup.forget(engine, own["id"])
    asked = [arguments for arguments in repository.asked if arguments[0] == "forget"]
    assert len(asked) == (not ahead and not append_only)
    warnings = engine.state.entry["warnings"]
    if ahead:
        named = " ".join(name * 8 for name in ahead)
        assert f"restic forget {named});" in warnings[0] and "if it is wrong, set it" in warnings[0]
    else:
        assert warnings == []


def test_a_backup_with_a_slow_clock_removes_nothing(engine: Engine) -> None:
    """The right ones are those with later times: whoever reads this must look at the clock first."""
    right = [at(night, f"{night:x}"[-1]) for night in range(1, 31)]
    engine.restic = repository = Repository(engine, {**at(-3650, "z"), "id": "own"}, *right)
    carrel_backup.backup.forget(engine, "own")
    (said,) = engine.state.entry["warnings"]
    assert repository.asked == [] and " and 10 more. " in said
    assert said.index("If the clock of this host is right") < said.index("restic forget")


def test_a_repository_that_cannot_be_listed_loses_nothing(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    engine.restic = repository = Repository(engine)

    def fail() -> list[dict[str, Any]]:
        raise ResticError("no answer", 1)

    monkeypatch.setattr(repository, "snapshots", fail)
    carrel_backup.backup.forget(engine, "own")
    assert repository.asked == [] and engine.state.entry["warnings"] == ["old snapshots were not removed: no answer"]


def test_a_series_has_its_own_snapshots_alone() -> None:
    """Those of a removed instance with the same name on the same host are older ones, or newer ones if it is back."""
    second = {**SNAPSHOTS[1], "id": "eeeeeeee55", "series": BEGUN}
    everything = [SNAPSHOTS[0], second]

    def latest(state: State, found: Sequence[dict[str, Any]] = ()) -> object:
        return snapshots.pick(found or everything, "latest", ["whole"], "geo1", state)["id"]

    assert latest(begun_as(series=BEGUN)) == "eeeeeeee55" and latest(begun_as()) == "aaaaaaaa11"
    assert latest(begun_as(begun=None)) == "eeeeeeee55", "a host that was lost may be restored from everything"
    with pytest.raises(BackupError, match=r"whole in this series; .* \(before --anew\): name one by its id"):
        latest(begun_as(series=BEGUN), SNAPSHOTS)
    by_id = snapshots.pick(everything, "aaaaaaaa", ["whole"], "geo1", begun_as(series=BEGUN))
    assert by_id["id"] == "aaaaaaaa11", "who names it gets it"
    tags = ["carrel", "on:geo1", f"since:{BEGUN}", "whole"]
    found = snapshots.described({"id": "x", "time": BEFORE, "tags": tags})
    assert (found["series"], found["of"], found["on"]) == (BEGUN, "whole", "geo1")
    odd = {"id": "x", "time": BEFORE, "tags": ["carrel", "since:a,on:geo2", "whole"]}
    assert snapshots.described(odd)["series"] is None, "the account can write tags"


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
    snapshots = [{"id": "abc", **each} for each in snapshots]
    said = past.another_past(snapshots, "geo1", begun, NOW)
    assert said is None if refused is None else refused in str(said)


FIRST = {"snapshot": "abc", "ended": "2030-01-02T02:31:00+00:00"}
EARLIER = {"snapshot": "abc", "ended": "2030-01-01T02:31:00+00:00"}
OLD = ("old", BEFORE, "geo1")


@pytest.mark.parametrize(
    ("last", "snapshots", "hosts", "refused"),
    [
        (FIRST, [OLD], [], "not this host's last one, abc"),
        (FIRST, [OLD], ["geo1"], "not this host's last one, abc"),
        (FIRST, [OLD, ("abc", BEGUN, "geo1")], [], None),
        (FIRST, [OLD, ("removed?", AFTER, "geo1")], [], None),
        (FIRST, [OLD, ("other", AFTER, "geo2")], [], "not this host's last one, abc"),
        (FIRST, [], [], None),
        (None, [OLD], [], "when this host began, at 2030-01-02T02:30:00, there were none"),
        (None, [OLD], ["geo1"], None),
        (None, [("own", AFTER, "geo1")], [], None),
        (EARLIER, [OLD], ["geo1"], None),
    ],
)
def test_a_host_does_not_go_on_in_the_repository_that_it_did_not_begin(
    engine: Engine,
    last: dict[str, Any] | None,
    snapshots: list[tuple[str, str, str]],
    hosts: list[str],
    refused: str | None,
) -> None:
    """As after a loss: a nightly run began below the mount point, or failed there, and then the disk was mounted.

    HOSTS: the instance was restored from their backups.
    """
    engine.state.content.update(begun=BEGUN, past=hosts, backup={"taken": last})
    found = [{"id": name, **taken(moment, host)} for name, moment, host in snapshots]
    said = past.another_repository(found, "geo1", engine.state)
    assert said is None if refused is None else refused in str(said)


@pytest.mark.parametrize("ahead", [timedelta(minutes=5), timedelta(hours=30), timedelta(days=3), timedelta(days=4000)])
@pytest.mark.parametrize("moved", [True, False])
def test_a_host_goes_on_though_the_other_one_s_clock_was_ahead(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, ahead: timedelta, moved: bool
) -> None:
    def made(identity: str, host: str, moment: datetime) -> dict[str, Any]:
        return {"id": identity, **taken(moment.isoformat(), host)}

    def later_on(days: float) -> None:
        monkeypatch.setattr(past, "utc", lambda: start + timedelta(days=days))
        engine.state = State(engine.state.path, "tao")
        past.check_past(engine, anew=False)

    start = datetime.now(timezone.utc)
    engine.restic = repository = Repository(engine, made("last", "geo2", start + ahead))
    engine.state.go_on("geo2", None)
    if not moved:  # a restore has seen what there is
        past.know_past(engine.state, snapshots.listed(engine))
    for days in (0.5, ahead.days, ahead.days + 30):
        later_on(days)
    repository.there.append(made("own", engine.settings.host, start + timedelta(days=1)))
    repository.there.sort(key=lambda each: str(each["time"]))
    for days in (1.5, ahead.days, ahead.days + 30):
        later_on(days)
    repository.there.append(made("more", "geo2", start + ahead + timedelta(days=2)))
    with pytest.raises(BackupError, match=f"another host's: geo2, not {engine.settings.host}"):
        later_on(ahead.days + 30)


def test_what_a_third_host_has_made_is_another_past(engine: Engine) -> None:
    engine.state.go_on("geo2", None)
    moment = datetime.now(timezone.utc) + timedelta(minutes=5)
    engine.restic = Repository(engine, {"id": "abc", **taken(moment.isoformat(), "geo3")})
    for _unused in range(2):
        with pytest.raises(BackupError, match="another host's: geo3"):
            past.check_past(engine, anew=False)


def test_a_backup_after_a_restore_is_another_past(engine: Engine) -> None:
    """The other host works on."""
    engine.restic = repository = Repository(engine)
    engine.state.go_on("geo2", None)
    past.know_past(engine.state, snapshots.listed(engine))
    moment = datetime.now(timezone.utc) + timedelta(minutes=5)
    repository.there = [{"id": "abc", **taken(moment.isoformat(), "geo2")}]
    with pytest.raises(BackupError, match="another host's: geo2"):
        past.check_past(engine, anew=False)


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


def look(engine: Engine, *options: str) -> int:
    found = replace(engine.settings, repository=f"{engine.settings.directory}/repository")
    return program.look(found, engine.account, program.arguments(["snapshots", "tao", *options]))


def test_a_list_of_snapshots_drives_no_terminal(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    engine.restic = Repository(engine, {"id": "abcdefgh", **taken(AFTER, "-1b-5b2-4a", "user:\x1b[2J")})
    found = snapshots.listed(engine)
    assert found[0]["on"] == "\x1b[2J"
    monkeypatch.setattr(program, "listed", lambda _run: found)
    assert look(engine) == 0
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
        past.check_past(engine, anew=False)
    assert State(engine.state.path, "tao").begun is None
    engine.state.content["past"] = ["geo2"]
    past.check_past(engine, anew=True)
    state = State(engine.state.path, "tao")
    assert state.begun and state.series and state.past == []
    past.check_past(engine, anew=False)
    assert State(engine.state.path, "tao").content == state.content


def test_a_new_series_forgets_neither_local_repositories_nor_stopped_containers(engine: Engine) -> None:
    """A purge gives all of these to root, and the next run starts the containers."""
    engine.restic = Repository(engine)
    engine.state.note_repository("/srv/old/tao")
    engine.state.owe({"c0ffee": "tao-lab-1"})
    past.check_past(engine, anew=True)
    engine.state.note_repository("/srv/new/tao")
    state = State(engine.state.path, "tao")
    assert state.content["repositories"] == ["/srv/old/tao", "/srv/new/tao"] and state.owed == {"c0ffee": "tao-lab-1"}


def test_no_drill_uses_the_backups_of_a_removed_instance(engine: Engine) -> None:
    engine.restic = Repository(engine, {"id": "abc", **taken(AFTER, "geo1")})
    with pytest.raises(BackupError, match=r"perhaps of a removed instance, and this one has neither .* tao --anew"):
        drill.drill(engine, None)


def test_a_drill_without_snapshots_of_the_series_says_what_to_do(engine: Engine) -> None:
    engine.restic = Repository(engine)
    with pytest.raises(BackupError, match="there is no snapshot yet; carrel-backup run tao makes one"):
        drill.drill(engine, None)
    engine.restic = Repository(engine, {"id": "abcdefgh", **taken(BEFORE, "geo1")})
    engine.state.begin_anew()
    with pytest.raises(BackupError, match=r"all 1 snapshots belong to another series.*run tao\), or .*--snapshot ID"):
        drill.drill(engine, None)
    everything = snapshots.listed(engine)
    assert drill.choice(engine, everything, "abcdef")["id"] == "abcdefgh", "who names it gets it"


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
    carrel_backup.backup.forget(engine, "own")
    (asked,) = [each for each in repository.asked if each[0] == "forget"]
    assert asked[1] == "--tag=carrel,on:geo1"
    engine.state.begin_anew()
    carrel_backup.backup.forget(engine, "own")
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
    assert look(engine, "--json") == 0
    assert there == [f"password.{os.getpid()}"]
    assert list(run_directory.iterdir()) == []


def test_a_list_of_snapshots_waits_for_no_slow_server(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    limits: list[int] = []
    monkeypatch.setattr(program, "listed", lambda run: limits.append(run.settings.deadline_seconds) or [])
    assert look(engine) == 0 and limits == [600] and engine.settings.deadline_seconds > 600
    nobody = replace(engine.settings, repository="rest:http://127.0.0.1:1/")
    assert program.look(nobody, engine.account, program.arguments(["snapshots", "tao"])) == FAILED
    assert "the repository's server 127.0.0.1" in capsys.readouterr().err and len(limits) == 1
