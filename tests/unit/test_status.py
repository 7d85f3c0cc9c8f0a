# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What files and answers mean, and what is wrong with an instance."""

from __future__ import annotations

import errno
import fcntl
import json
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import status_samples as samples
from ansible_collections.carrel.jupyter.plugins.module_utils._host import quotas
from ansible_collections.carrel.jupyter.plugins.module_utils._host.instance_status import Instance, collect, locked
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.version import VERSION
from ansible_collections.carrel.jupyter.plugins.module_utils._report import backups, metrics, report, status
from ansible_collections.carrel.jupyter.plugins.module_utils._shared.times import parse_time
from carrel_reset.state import State
from hypothesis import given
from hypothesis import strategies as st

OPTIONS = {"names": None, "connect_to": "127.0.0.1", "timeout_seconds": 2, "disk": True, "disk_timeout_seconds": 5}


def state(**changes: Any) -> str:
    whole = {
        "result": "done", "step": "prune", "message": "done", "started": "2030-01-10T00:24:50Z", "ended": None,
        "warnings": [], "history": [],
    }  # fmt: skip
    return json.dumps({**whole, **changes})


@pytest.mark.parametrize(
    ("result", "held", "means"),
    [
        ("running", True, "running"),
        ("running", False, "interrupted"),
        ("done", False, "done"),
        ("done", True, "done"),
    ],
)
def test_running_without_its_lock_is_interrupted(result: str, held: bool, means: str) -> None:
    assert status.reset(state(result=result), held)["result"] == means


def test_how_often_it_was_put_off_in_a_row() -> None:
    history = [{"result": "put off"}, {"result": "put off"}, {"result": "done"}, {"result": "put off"}]
    assert status.reset(state(result="put off", history=history), False)["put_off"] == 2
    assert status.reset(state(result="put off", history=history[:2]), False)["put_off"] == 2
    assert status.reset(state(result="put off"), False)["put_off"] == 1
    assert status.reset(state(result="done", history=history), False)["put_off"] == 0


@pytest.mark.parametrize("number", [3, 20, 21, 1000])
def test_one_account_does_not_fill_the_status_of_the_fleet(number: int) -> None:
    texts = [str(each) for each in range(number)]
    found = status.reset(state(result="done", warnings=texts, commands=dict.fromkeys(texts, "done")), False)
    more = [f"and {number - 20} more"] if number > 20 else []
    assert found["warnings"] == [*texts[:20], *more]
    assert found["commands"] == [*(f"{text}: done" for text in texts[:20]), *more]


def test_what_the_program_writes_is_understood(tmp_path: Path) -> None:
    """The program's own state file, from its beginning to its end, and the next one after a kill."""
    path = tmp_path / "state.json"

    def seen() -> dict[str, Any]:
        return status.reset(path.read_text(encoding="utf-8"), False)

    for times in (1, 2):
        putting_off = State(str(path), "tao", "lab")
        putting_off.begin(None)
        putting_off.finish("put off", "2 kernels are busy", 4)
        assert (seen()["result"], seen()["put_off"]) == ("put off", times)
    killed = State(str(path), "tao", "lab")
    killed.begin(None)
    killed.step("drain", "waiting")
    assert (seen()["result"], seen()["step"]) == ("interrupted", "drain")
    next_one = State(str(path), "tao", "lab")
    next_one.begin(None)
    next_one.warn("not pulled")
    next_one.smoked("check.ipynb passed in 1 s")
    next_one.finish("done", "reset", 0)
    assert seen()["smoke"] == "check.ipynb passed in 1 s"
    assert (seen()["result"], seen()["warnings"]) == ("done", ["not pulled"]) and parse_time(seen()["ended"])


TIMES = st.datetimes(timezones=st.timezones()).map(datetime.isoformat) | st.sampled_from(
    ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | TIMES,
    lambda part: st.lists(part, max_size=3) | st.dictionaries(st.text(), part, max_size=3),
)
KEYS = ("step", "message", "started", "ended", "warnings", "history", "commands", "smoke")


@given(st.fixed_dictionaries(dict.fromkeys(KEYS, JSON)))
def test_whatever_the_account_wrote_can_be_judged_shown_and_measured(changes: dict[str, Any]) -> None:
    last = status.reset(state(result="put off", **changes), False)
    found = status.examine(samples.found(reset=last), samples.NOW)
    assert found["health"] in ("warning", "error")
    (row,) = report.rows({"h": {"instances": [found]}}, samples.NOW)
    assert row.answers == "31 ms" and report.table([row])
    assert "carrel_instance_answer_seconds" in metrics.health([found], {})


RUN = st.none() | st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("what", "result", "step", "message", "started", "ended", "warnings"), JSON),
        "good": JSON | st.fixed_dictionaries({"ended": JSON, "server": JSON}),
    },
)


@given(st.fixed_dictionaries({"backup": RUN | JSON, "drill": RUN | JSON}))
def test_whatever_stands_in_the_state_of_backups_can_be_judged_shown_and_measured(content: dict[str, Any]) -> None:
    last = backups.read('{"at": "02:30", "drill": true}', json.dumps(content), False, samples.NOW)
    found = status.examine(samples.found(backup=last), samples.NOW)
    (row,) = report.rows({"h": {"instances": [found]}}, samples.NOW)
    assert row.answers == "31 ms" and report.table([row])
    assert "carrel_instance_answer_seconds" in metrics.health([found], {})


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"result": "fine"}', '{"result": ["done"]}', "[" * 100000])
def test_a_damaged_state_is_refused(text: str) -> None:
    with pytest.raises((ValueError, RecursionError)):
        status.reset(text, False)


def test_a_lock_is_seen_without_taking_it(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    assert not locked(str(lock))
    with lock.open("w") as stream:
        assert not locked(str(lock))
        fcntl.flock(stream, fcntl.LOCK_EX)
        assert locked(str(lock))
    assert not locked(str(lock))


@pytest.mark.parametrize(
    ("at", "now", "coming"),
    [
        ("01:25", "2030-01-10T00:00:00", "2030-01-10T01:25:00+01:00"),
        ("01:25", "2030-01-10T00:25:00", "2030-01-11T01:25:00+01:00"),
        ("23:59", "2030-01-10T23:30:00", "2030-01-11T23:59:00+01:00"),
        # the clock is set forward and back
        ("01:25", "2030-03-30T12:00:00", "2030-03-31T01:25:00+01:00"),
        ("04:00", "2030-03-30T12:00:00", "2030-03-31T04:00:00+02:00"),
        ("04:00", "2030-10-26T12:00:00", "2030-10-27T04:00:00+01:00"),
        ("daily", "2030-01-10T00:00:00", None),
        (None, "2030-01-10T00:00:00", None),
        ("25:00", "2030-01-10T00:00:00", None),
    ],
)
def test_the_next_reset(at: str | None, now: str, coming: str | None) -> None:
    moment = datetime.fromisoformat(now).replace(tzinfo=timezone.utc)
    assert status.next_time(at, moment, ZoneInfo("Europe/Berlin")) == coming


@given(st.times(), st.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1), timezones=st.just(timezone.utc)))
def test_the_next_reset_is_within_a_day(at: Any, now: datetime) -> None:
    coming = status.next_time(at.strftime("%H:%M"), now, ZoneInfo("Europe/Berlin"))
    assert coming
    # a night with a change of the clock is an hour longer
    assert timedelta(0) < datetime.fromisoformat(coming) - now <= timedelta(hours=25)


def test_a_certificate() -> None:
    ends = status.certificate("notAfter=Jan 19 00:00:00 2030 GMT\n", samples.NOW)
    assert ends == {"ends": "2030-01-19T00:00:00+00:00", "days_left": 8}
    assert status.certificate("notAfter=Jan 10 11:00:00 2030 GMT", samples.NOW)["days_left"] == -1
    with pytest.raises(ValueError, match="time data"):
        status.certificate("unable to load certificate", samples.NOW)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2030-01-10T00:25:40Z", 40.0),
        ("2030-01-10T00:25:40.120283739Z", 40.120283),
        ("2030-01-10T01:25:40.5+01:00", 40.5),
        ("2030-01-10T00:25:40", 40.0),
    ],
)
def test_times(text: str, seconds: float) -> None:
    moment = parse_time(text)
    assert moment and (moment - datetime(2030, 1, 10, 0, 25, tzinfo=timezone.utc)).total_seconds() == seconds


# In UTC, the first two have years that there are not.
NO_TIMES: list[Any] = [
    "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59.999999-14:00", None, "", "yesterday", "2030-13-10T00:25:40Z",
    "0000-01-01T00:00:00Z", "2030-01-10T00:25:40+24:00", "\ud800", 5,
    10**30, float("nan"), float("inf"), True, [], {"a": "2030-01-10T00:25:40Z"}, "9" * 10**5,
]  # fmt: skip


@pytest.mark.parametrize("text", ["0001-01-01", "0001-01-01T00:00:00-14:00", "9999-12-31T23:59:59+14:00"])
def test_the_ends_of_the_calendar_are_times(text: str) -> None:
    assert parse_time(text)


@pytest.mark.parametrize("value", NO_TIMES)
def test_invalid_times_are_refused(value: object) -> None:
    assert parse_time(value) is None


@given(st.datetimes(timezones=st.timezones() | st.just(timezone(timedelta(hours=-23, minutes=-59)))))
def test_times_are_in_utc_or_none(moment: datetime) -> None:
    text = moment.isoformat()
    found = parse_time(text)
    assert found is None or (found == datetime.fromisoformat(text) and found.utcoffset() == timedelta(0))


def test_whose_container_it_is() -> None:
    service = {"Labels": {status.PROJECT: "tao", status.INSTANCE: "tao"}, "State": "running"}
    server = {"Labels": {status.USER: "ada", status.INSTANCE: "tao"}, "State": "running"}
    stopped, foreign = {**server, "State": "exited"}, {"Labels": None, "State": "running"}
    other = {"Labels": {status.USER: "ada", status.INSTANCE: "tao-2"}, "State": "running"}
    assert status.servers([service, server, stopped, foreign, other], "tao") == 1
    assert [status.is_own(each, "tao") for each in (service, server, foreign)] == [True, False, False]


def test_df_s_percentage() -> None:
    assert status.percent_used(free=20, total=100, available=15) == 84
    assert status.percent_used(free=0, total=0, available=0) == 0


def test_a_healthy_instance() -> None:
    judged = samples.instance()
    assert (judged["health"], judged["problems"]) == ("ok", []) and "unreadable" not in judged


STOPPED = {"name": "tao", "running": False, "error": "the engine at /run/user/1001/docker.sock does not answer"}
TWO = [samples.container(), samples.container("tao-lab-2-1")]


@pytest.mark.parametrize(
    ("changes", "level", "words"),
    [
        ({"site": samples.refused()}, "error", "https://example.org/tao/ does not answer: status 503"),
        (
            {"reset": samples.reset("failed", step="start", message="unhealthy")},
            "error",
            "failed at step start: unhealthy",
        ),
        ({"reset": samples.reset("interrupted", step="pull")}, "error", "interrupted at step pull"),
        ({"reset": samples.reset("put off", put_off=1, message="busy")}, "warning", "put off once: busy"),
        ({"reset": samples.reset("put off", put_off=4)}, "warning", "put off 4 times in a row"),
        ({"reset": samples.reset(warnings=["not pulled"])}, "warning", "warned: not pulled"),
        (
            {"reset": samples.reset(started="2030-01-08T10:00:00Z")},
            "warning",
            "no reset began since 2030-01-08 10:00 UTC",
        ),
        ({"reset": None}, "warning", "no reset began since 2029-12-01"),
        ({"engine": STOPPED, "containers": None}, "error", "does not answer"),
        (
            {"engine": {"name": "tao", "running": True, "error": None, "replaced": ["dockerd"]}},
            "warning",
            "still runs the old dockerd although",
        ),
        ({"ports": {"taken": ["port 8801 is taken by eve"], "open": []}}, "error", "taken by eve"),
        ({"ports": {"taken": [], "open": [8801, 8802]}}, "warning", "bind ports 8801, 8802 of 127.0.0.1 while"),
        ({"state": "held", "ports": {"taken": [], "open": [8801]}}, "warning", "bind port 8801"),
        ({"containers": [samples.container(state="exited")]}, "error", "none of its containers runs"),
        ({"containers": []}, "error", "none of its containers runs"),
        ({"containers": [samples.container(health="unhealthy")]}, "error", "tao-lab-1-1 is unhealthy"),
        (
            {"kind": "hub", "containers": [samples.container(), samples.container("tao-proxy-1", state="exited")]},
            "error",
            "tao-proxy-1 is exited",
        ),
        ({"site": samples.site(13)}, "warning", "ends in 13 days"),
        ({"site": samples.site(-1)}, "error", "the certificate ended"),
        ({"disk": samples.disk(used_percent=91)}, "warning", "/srv/tao is 91 % full"),
        ({"disk": samples.disk(files_percent=97)}, "warning", "/srv/tao has 97 % of its inodes in use"),
        (
            {"disk": samples.disk(engine={"directory": "/docker/tao", "used_percent": 95, "files_percent": 3})},
            "warning",
            "/docker/tao, the engine's data root, is 95 % full",
        ),
        ({"containers": TWO}, "warning", "tao-lab-1-1 and tao-lab-2-1 run at once"),
        ({"containers": [samples.container(as_tagged=False)]}, "warning", "runs another image than registry"),
        ({"containers": [samples.container(as_tagged=None)]}, "warning", "no longer has registry"),
        ({"unreadable": [("warning", "reset/state.json is damaged")]}, "warning", "damaged"),
        ({"unreadable": [("error", "the backup's state is damaged")]}, "error", "damaged"),
    ],
)
def test_a_problem(changes: dict[str, Any], level: str, words: str) -> None:
    judged = samples.instance(**changes)
    assert [problem["level"] for problem in judged["problems"]] == [level] == [judged["health"]]
    assert words in judged["problems"][0]["text"]


@pytest.mark.parametrize(
    "changes",
    [
        {"site": samples.site(14)},
        {"site": samples.site(certificate=None)},
        {"disk": samples.disk(used_percent=90, files_percent=90)},
        {"disk": samples.disk(engine={"directory": "/docker/tao", "used_percent": 12, "files_percent": 3})},
        {"reset": None, "schedule": None},
        {"reset": None, "schedule": samples.schedule("2030-01-10T11:00:00+00:00")},
        {"reset": samples.reset("running"), "containers": TWO},
        {"reset": samples.reset(started="2030-01-01T00:00:00Z"), "schedule": None},
        # a job that is new, after a reset by hand long ago
        {"reset": samples.reset(started="2029-01-01T00:00:00Z"), "schedule": samples.schedule("2030-01-10T11:00:00Z")},
        # the other server of a lab, after a reset
        {"containers": [samples.container(), samples.container("tao-lab-2-1", state="exited")]},
    ],
)
def test_no_problem(changes: dict[str, Any]) -> None:
    assert samples.instance(**changes)["problems"] == []


def test_what_is_held_need_not_answer() -> None:
    held = samples.instance(state="held", site=samples.refused(), engine=STOPPED, containers=[])
    assert (held["health"], held["problems"]) == ("held", [])


def test_the_worst_comes_first() -> None:
    judged = samples.instance(
        containers=[samples.container(as_tagged=False)], site={**samples.refused(), "certificate": None},
        disk=samples.disk(used_percent=99), reset=samples.reset("failed"), unreadable=[("warning", "x")],
    )  # fmt: skip
    words = [problem["text"].split()[0:3] for problem in judged["problems"]]
    assert [text[0] for text in words] == ["https://example.org/tao/", "the", "the", "tao-lab-1-1", "x"]
    assert [problem["level"] for problem in judged["problems"]] == ["error"] * 2 + ["warning"] * 3


def write(root: Path, path: str, text: str) -> Path:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file


def record(root: Path, name: str = "tao", **changes: Any) -> None:
    whole = {"name": name, "kind": "lab", "engine": "no-such-account", "state": "present", "directory": f"/srv/{name}"}
    write(root, f"var/lib/carrel/{name}/instance.json", json.dumps({**whole, "url": "http://localhost:1/", **changes}))
    (root / "srv" / name).mkdir(parents=True)


def one(root: Path, **options: Any) -> dict[str, Any]:
    (answer,) = collect(str(root), {**OPTIONS, **options}, samples.NOW)
    json.dumps(answer)  # Ansible must be able to return it
    return answer


STARTED = ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", 10**25, {"a": 1}]


@pytest.mark.parametrize("started", STARTED)
def test_an_account_s_times_hide_neither_its_own_instance_nor_others(tmp_path: Path, started: object) -> None:
    for name in ("atlas", "tao"):
        record(tmp_path, name)
        write(tmp_path, f"etc/carrel/reset/{name}.json", json.dumps({"at": "01:25", "timezone": None}))
        write(tmp_path, f"etc/cron.d/carrel-{name}", "")
    write(tmp_path, "var/lib/carrel/tao/reset/state.json", state(started=started, ended=started))
    found = collect(str(tmp_path), OPTIONS, samples.NOW)
    assert [(each["name"], each["state"]) for each in found] == [("atlas", "present"), ("tao", "present")]
    assert 'carrel_instance_up{name="atlas"} 0.0' in metrics.health(found, {})
    assert [row.name for row in report.rows({"h": {"instances": found}}, samples.NOW)] == ["atlas", "tao"]


@pytest.mark.parametrize("where", ["engine", "users", "reset"])
@pytest.mark.parametrize("error", [OverflowError("date value out of range"), MemoryError(), AssertionError("\x1b[2J")])
def test_a_fault_in_one_leaves_the_others_their_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, error: Exception
) -> None:
    for name in ("atlas", "tao"):
        record(tmp_path, name, kind="hub")
    there = getattr(Instance, where)

    def fails(self: Instance, *given: Any) -> Any:
        if self.name == "tao":
            raise error
        return there(self, *given)

    monkeypatch.setattr(Instance, where, fails)
    atlas, tao = collect(str(tmp_path), {**OPTIONS, "drift": True}, samples.NOW)
    assert atlas["state"] == "present" and atlas["disk"] and atlas["site"]
    assert tao["health"] == "error" and "\x1b" not in json.dumps(tao)
    assert tao["kind"] == "hub" and tao["directory"] == "/srv/tao"
    if where == "engine":
        assert tao["state"] is None and f"its status is unknown, because of a {type(error).__name__}" in texts(tao)
    assert set(tao) | {"drift"} == set(atlas) | {"drift"}
    found = metrics.health([atlas, tao], {})
    assert 'carrel_instance_up{name="tao"} 0.0' in found and 'carrel_filesystem_free_bytes{name="atlas"}' in found
    assert report.failing({"h": {"instances": [atlas, tao]}}) == ["h atlas", "h tao"]


def texts(answer: dict[str, Any]) -> str:
    return "\n".join(problem["text"] for problem in answer["problems"])


def test_a_host_without_instances(tmp_path: Path) -> None:
    assert collect(str(tmp_path), OPTIONS, samples.NOW) == []


def test_an_instance_without_containers(tmp_path: Path) -> None:
    record(tmp_path)
    answer = one(tmp_path)
    assert answer["health"] == "error" and answer["site"]["answers"] is False and answer["containers"] is None
    assert "http://localhost:1/ does not answer: connection refused" in texts(answer)
    assert "the host has no account no-such-account" in texts(answer)


def test_without_an_address_the_urls_own_name_is_asked(tmp_path: Path) -> None:
    record(tmp_path)
    assert "Nothing listens on 127.0.0.1:1" in texts(one(tmp_path))
    assert "Nothing listens on localhost:1" in texts(one(tmp_path, connect_to=""))


@pytest.mark.parametrize(("kept", "own"), [({}, []), ({"own": ["a\x1b[2Jb"]}, ["ab"]), ({"own": 5}, [])])
def test_what_is_the_administrators_own(tmp_path: Path, kept: dict[str, Any], own: list[str]) -> None:
    """Older records have none."""
    record(tmp_path, **kept)
    assert one(tmp_path)["own"] == own


@pytest.mark.parametrize("text", ["", "{", "[]"])
def test_an_instance_with_a_damaged_record(tmp_path: Path, text: str) -> None:
    write(tmp_path, "var/lib/carrel/tao/instance.json", text)
    answer = one(tmp_path)
    assert "/var/lib/carrel/tao/instance.json is damaged" in texts(answer) and answer["state"] is None
    assert answer["health"] == "error"


@pytest.mark.parametrize("value", [None, 3, "", [], "not a url"])
@pytest.mark.parametrize("key", ["kind", "url", "directory", "engine", "state"])
def test_a_record_that_lacks_something(tmp_path: Path, key: str, value: Any) -> None:
    record(tmp_path, **{key: value})
    assert one(tmp_path)["problems"]


def test_a_damaged_state_and_damaged_settings(tmp_path: Path) -> None:
    record(tmp_path)
    write(tmp_path, "var/lib/carrel/tao/reset/state.json", "{")
    write(tmp_path, "etc/carrel/reset/tao.json", "{}")
    write(tmp_path, "etc/cron.d/carrel-tao", "")
    answer = one(tmp_path)
    assert "/var/lib/carrel/tao/reset/state.json is damaged" in texts(answer)
    assert "/etc/carrel/reset/tao.json is damaged" in texts(answer)


def test_a_link_in_the_account_s_directory_is_not_followed(tmp_path: Path) -> None:
    record(tmp_path)
    secret = write(tmp_path, "secret", state(message="of somebody else"))
    (tmp_path / "var/lib/carrel/tao/reset").mkdir()
    (tmp_path / "var/lib/carrel/tao/reset/state.json").symlink_to(secret)
    answer = one(tmp_path)
    assert "is a symbolic link" in texts(answer) and answer["reset"] is None


def test_the_schedule_needs_a_job_of_cron(tmp_path: Path) -> None:
    record(tmp_path)
    write(tmp_path, "etc/carrel/reset/tao.json", json.dumps({"at": "01:25", "timezone": "Europe/Berlin"}))
    assert one(tmp_path)["schedule"] is None
    write(tmp_path, "etc/cron.d/carrel-tao", "")
    assert one(tmp_path)["schedule"]["next"] == "2030-01-11T01:25:00+01:00"


def test_disk(tmp_path: Path) -> None:
    record(tmp_path)
    write(tmp_path, "srv/tao/data/big", "x" * 1_000_000)
    assert one(tmp_path)["disk"]["directory_bytes"] > 1_000_000
    in_vain = one(tmp_path, disk_timeout_seconds=0)["disk"]
    assert in_vain["directory_bytes"] is None and "not measured within 0 s" in in_vain["notes"][0]
    skipped = one(tmp_path, disk=False)["disk"]
    assert skipped["directory_bytes"] is None and skipped["notes"] == [] and skipped["free_bytes"] > 0


def test_an_engines_data_root_on_another_file_system(tmp_path: Path) -> None:
    record(tmp_path)
    found = one(tmp_path)["disk"]
    assert found["engine"] is None and 0 <= found["files_percent"] <= 100
    write(tmp_path, "etc/rootless-docker/no-such-account/daemon.json", '{"data-root": "/docker/tao"}')
    assert one(tmp_path)["disk"]["engine"] is None, "not there yet"
    (tmp_path / "docker/tao").mkdir(parents=True)
    assert one(tmp_path)["disk"]["engine"] is None, "on the same file system"
    (tmp_path / "docker/tao").rmdir()
    (tmp_path / "docker/tao").symlink_to("/proc")
    found = one(tmp_path)["disk"]["engine"]
    assert found == {"directory": "/docker/tao", "free_bytes": 0, "used_percent": 0, "files_percent": 0}
    write(tmp_path, "etc/rootless-docker/no-such-account/daemon.json", "[")
    answer = one(tmp_path)
    assert answer["disk"]["engine"] is None and "the engine's disk is damaged" in texts(answer)


def test_the_rest_of_the_disk_is_known_where_limits_may_not_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mock, because the file systems of test hosts have no project quotas."""
    record(tmp_path)
    write(tmp_path, "srv/tao/data/notebooks/a.ipynb", "{}")

    def refused(folder: int) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(quotas, "examine", refused)
    answer = one(tmp_path)
    assert (
        answer["disk"]["limit"] is None and answer["disk"]["free_bytes"] > 0 and answer["disk"]["directory_bytes"] > 0
    )
    assert "the disk cannot be read" not in texts(answer)


@pytest.mark.parametrize(
    ("version", "newer"), [(VERSION, False), ("0.1.0", False), (None, False), ("99.0.0", True), ("nonsense", False)]
)
def test_an_old_collector_leaves_out_the_drift_of_what_a_newer_version_deployed(
    tmp_path: Path, version: str | None, newer: bool
) -> None:
    record(tmp_path, collection=version)
    answer = one(tmp_path, drift=True)
    assert (answer["drift"] is None) is newer
    assert f'carrel_collector_outdated{{name="tao"}} {float(newer)}' in metrics.health([answer], {})
    assert "carrel_collector_outdated" not in metrics.health([one(tmp_path)], {})


def test_names(tmp_path: Path) -> None:
    for name in ("tao", "atlas"):
        record(tmp_path, name)
    assert [answer["name"] for answer in collect(str(tmp_path), OPTIONS, samples.NOW)] == ["atlas", "tao"]
    unknown = one(tmp_path, names=["geo"])
    assert unknown["name"] == "geo" and "there is no such instance" in texts(unknown) and unknown["health"] == "error"
