# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a reset goes, with an engine and an instance that only say what was asked of them."""

from __future__ import annotations

import datetime
import json
import time
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from carrel_reset import claims, images, lab, run, settings
from carrel_reset.engine import Container, Engine, EngineError, Image
from carrel_reset.journal import Journal
from carrel_reset.run import CannotTell, Options, ResetError, Run
from carrel_reset.state import State

CONTENT: dict[str, Any] = {
    "version": 1, "name": "tao", "kind": "lab", "engine": "tao", "directory": "/srv/tao",
    "url": "https://example.org/tao/", "base_url": "/tao/", "ports": [8801, 8802], "images": ["lab:1"],
    "notebooks": "/home/jovyan/work", "at": "01:25", "timezone": None, "spread_minutes": 0, "pull": False,
    "pull_timeout_seconds": 1800, "people": "wait", "deadline_seconds": 60, "notice_seconds": 300, "drain_seconds": 0,
    "start_timeout_seconds": 120, "rotate_token": False, "token_file": None, "prune_days": 0,
    "before": None, "after": None, "command_seconds": 300, "smoke_seconds": 0, "account": "tao",
    "socket": "/run/user/1001/docker.sock", "state_directory": "/nowhere", "compose_files": ["/srv/tao/compose.yaml"],
    "lead_seconds": 300, "a key of tomorrow": 1,
}  # fmt: skip


class FakeEngine(Engine):
    def __init__(self) -> None:
        super().__init__("/nowhere", "/nowhere", [])
        self.calls: list[str] = []
        self.failures: dict[str, list[str]] = {}  # command: what its next calls say
        self.images: dict[str, str] = {"lab:1": "sha256:a"}

    def docker(self, *arguments: str, timeout: int = 60, text: str = "", errors_too: bool = False) -> str:
        self.calls.append(" ".join(arguments))
        if self.failures.get(arguments[0]):
            raise EngineError(self.failures[arguments[0]].pop(0))
        return ""

    def containers(self, **labels: str) -> list[Container]:
        return []

    def image(self, name: str, tag: str | None = None) -> Image | None:
        found = self.images.get(name) or (name if name in self.images.values() else None)
        return Image(found, "sha256:of-" + found) if found else None


class FakeKind:
    def __init__(self) -> None:
        self.calls: list[str] = []
        self.reasons: list[list[str]] = []  # what people() answers, in turn; then nobody
        self.cannot_tell = False
        self.failure: list[Exception] = []
        self.up = True
        self.renewed: Path | None = None  # where it is noted down, beside what others write there

    def recover(self) -> None:
        self.calls.append("recover")

    def images(self) -> list[str]:
        return ["lab:1"]

    def tell(self, text: str) -> None:
        self.calls.append("tell")

    def untell(self) -> None:
        self.calls.append("untell")

    def people(self) -> list[str]:
        self.calls.append("people")
        if self.cannot_tell:
            raise CannotTell("403")
        return self.reasons.pop(0) if self.reasons else []

    def renew(self) -> None:
        self.calls.append("renew")
        if self.renewed:
            with self.renewed.open("a") as file:
                file.write("renew\n")
        for failure in self.failure:
            raise failure

    def answers(self) -> bool:
        return self.up

    def running(self) -> dict[str, str]:
        return {"lab:1": "sha256:a"}

    def server(self) -> int | None:
        return 1

    def container(self) -> str | None:
        return "c1"


class Bench:
    """A reset whose clock only sleeping moves."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.directory = folder / "reset"
        self.directory.mkdir()
        self.engine, self.kind = FakeEngine(), FakeKind()
        self.content = {**CONTENT, "state_directory": str(self.directory)}
        self.slept: list[float] = []
        self.clock = 1000.0
        monkeypatch.setattr(time, "sleep", self.sleep)
        monkeypatch.setattr(time, "monotonic", lambda: self.clock)

    def sleep(self, seconds: float) -> None:
        """The calls name naps one after the other as one sleep."""
        self.slept.append(seconds)
        self.clock += seconds
        if self.kind.calls and self.kind.calls[-1].startswith("sleep "):
            seconds += float(self.kind.calls.pop()[6:])
        self.kind.calls.append(f"sleep {seconds:g}")

    def run(self, **options: Any) -> Run:
        wanted = settings.of(self.content)
        state = State(str(self.directory / "state.json"), "tao", "lab")
        state.begin(None)
        return Run(wanted, Options(**options), self.engine, Journal("tao"), state, self.clock)

    def reset(self, **options: Any) -> tuple[int, dict[str, Any]]:
        code = run.reset(self.run(**options), self.kind)
        state = json.loads((self.directory / "state.json").read_text())
        assert state["exit_code"] == code and state["history"][0]["result"] == state["result"]
        return code, state


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(tmp_path, monkeypatch)


def test_a_reset_at_once(bench: Bench) -> None:
    code, state = bench.reset()
    assert (code, state["result"], state["server"]) == (0, "done", 1)
    assert bench.kind.calls == ["recover", "tell", "people", "renew"]
    assert state["images"] == {"lab:1": {"id": "sha256:a", "digest": "sha256:of-sha256:a"}}
    assert [entry["id"] for entry in state["healthy"]] == ["sha256:a"]


@pytest.mark.parametrize("waits", ["for its time", "for people"])
def test_a_reset_that_waits_gives_way_to_a_playbook(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, waits: str
) -> None:
    monkeypatch.setattr(claims, "FILE", f"{tmp_path}/claim-{{}}")

    def sleep(seconds: float) -> None:
        bench.clock += seconds
        assert seconds <= run.LOOK_EVERY_SECONDS
        (tmp_path / "claim-tao").write_bytes(claims.claim("a playbook", 30))

    monkeypatch.setattr(time, "sleep", sleep)
    bench.kind.reasons = [["a kernel is busy"]] * 9
    code, state = bench.reset(lead_seconds=3600 if waits == "for its time" else 0)
    assert (code, state["message"]) == (run.PUT_OFF, "a playbook is changing the instance's containers")
    assert "renew" not in bench.kind.calls and bench.kind.calls[-1] == "untell"
    # Nor does the one that the playbook starts wait for its own playbook.
    bench.kind.reasons = []
    assert bench.reset(claimed=True)[0] == run.DONE


def test_people_get_the_notice_before_the_set_time(bench: Bench) -> None:
    bench.content["notice_seconds"] = 120
    assert bench.reset(lead_seconds=300)[0] == 0
    assert bench.kind.calls == ["recover", "sleep 180", "tell", "sleep 120", "people", "renew"]


def test_the_pull_begins_at_once(bench: Bench) -> None:
    bench.content["pull"] = True
    bench.reset(lead_seconds=300, notice=False)
    assert bench.engine.calls[1] == "pull --quiet lab:1" and bench.kind.calls[1] == "sleep 300"


@pytest.mark.parametrize(("seconds", "late"), [(100, 0), (190, 0), (250, 70), (900, 720)])
def test_a_slow_pull_does_not_shorten_the_notice(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, seconds: int, late: int
) -> None:
    bench.content.update(pull=True, notice_seconds=120)
    docker = bench.engine.docker

    def slow(*arguments: str, **more: Any) -> str:
        bench.clock += seconds if arguments[0] == "pull" else 0
        return docker(*arguments, **more)

    monkeypatch.setattr(bench.engine, "docker", slow)
    began = bench.clock
    at = datetime.datetime(2026, 11, 27, 1, 25, tzinfo=datetime.timezone.utc)
    assert bench.reset(lead_seconds=300, set_time=at)[0] == 0
    assert bench.clock - began == pytest.approx(300 + late, abs=1)
    assert bench.kind.calls[bench.kind.calls.index("tell") + 1] in ("sleep 120", "sleep 110")


def test_the_latest_time_is_right_in_the_night_when_clocks_change(bench: Bench) -> None:
    bench.content["deadline_seconds"] = 3600
    at = datetime.datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"))
    text = run.notice(bench.run(lead_seconds=300, set_time=at))
    assert "is reset at 02:30 CEST" in text and "at 02:30 CET at the latest" in text


def test_a_reset_by_hand_keeps_the_time_of_the_last_scheduled_one(bench: Bench) -> None:
    """Otherwise a clock that is set back would cause that one again."""
    path = str(bench.directory / "state.json")
    State(path, "tao", "lab").begin("2026-11-27T01:25:00+01:00")
    State(path, "tao", "lab").begin(None)
    assert State(path, "tao", "lab").last_scheduled == "2026-11-27T01:25:00+01:00"


def test_the_record_of_images_stays_short_if_none_are_removed(bench: Bench) -> None:
    state = State(str(bench.directory / "state.json"), "tao", "lab")
    for number in range(images.KNOWN + 5):
        state.runs(1, {tag: {"id": f"{tag}-{number}", "digest": None} for tag in ("a:1", "b:1")})
    run_ = bench.run()
    run_.state = state
    images.prune(run_)
    assert len(state.content["healthy"]) == 2 * images.KNOWN
    assert {entry["id"] for entry in state.content["healthy"][:2]} == {
        f"{tag}-{images.KNOWN + 4}" for tag in ("a:1", "b:1")
    }


def test_an_image_that_is_not_deployed_is_not_pulled(bench: Bench) -> None:
    """The settings are ahead of the instance after a run that failed."""
    bench.content.update(pull=True, images=["lab:2", "lab:1"])
    code, state = bench.reset(notice=False)
    pulled = [call for call in bench.engine.calls if call.startswith("pull")]
    assert pulled == ["pull --quiet lab:1"] and code == 0 and state["warnings"] == []


def test_wait_until_nobody_is_at_work(bench: Bench) -> None:
    bench.kind.reasons = [["kernel a is busy"], ["kernel a is busy"]]
    code, state = bench.reset(notice=False)
    assert code == 0 and state["warnings"] == []
    assert bench.kind.calls == ["recover", "people", "sleep 15", "people", "sleep 15", "people", "renew"]


def test_the_deadline(bench: Bench) -> None:
    bench.kind.reasons = [["kernel a is busy"]] * 9
    code, state = bench.reset(notice=False)
    assert code == 0 and sum(bench.slept) == 60 and bench.kind.calls[-1] == "renew"
    assert state["warnings"] == ["the deadline has passed; the reset cuts off: kernel a is busy"]


def test_skip(bench: Bench) -> None:
    bench.kind.reasons = [["kernel a is busy"]]
    code, state = bench.reset(people="skip")
    assert (code, state["result"]) == (4, "put off") and "kernel a is busy" in state["message"]
    assert bench.kind.calls[-2:] == ["people", "untell"]


def test_ignore(bench: Bench) -> None:
    bench.kind.reasons = [["kernel a is busy"]]
    assert bench.reset(people="ignore")[0] == 0
    assert "people" not in bench.kind.calls


def test_a_server_that_cannot_be_asked_counts_as_work(bench: Bench) -> None:
    bench.kind.cannot_tell = True
    unknown = "it cannot be found out whether people are at work: 403"
    code, state = bench.reset(people="skip")
    assert code == run.PUT_OFF and unknown in state["message"] and "renew" not in bench.kind.calls
    code, state = bench.reset()
    assert code == 0 and state["warnings"] == [f"the deadline has passed; the reset cuts off: {unknown}"]
    assert bench.reset(people="ignore")[0] == 0


def test_nobody_is_waited_for_where_nothing_answers(bench: Bench) -> None:
    bench.kind.up = False
    bench.kind.reasons = [["kernel a is busy"]]
    code, state = bench.reset(lead_seconds=300)
    assert code == 0 and bench.slept == [] and bench.kind.calls == ["recover", "renew"]
    assert state["message"] == "reset; before it, the instance did not answer"


@pytest.mark.parametrize("failure", [ResetError("no"), EngineError("no"), OSError("no"), KeyError("no")])
@pytest.mark.parametrize(("up", "code"), [(True, 1), (False, 5)])
def test_failures(bench: Bench, failure: Exception, up: bool, code: int, capsys: Any) -> None:
    bench.kind.failure, bench.kind.up = [failure], up
    result, state = bench.reset()
    assert (result, state["result"]) == (code, "failed")
    assert bench.kind.calls[-1] == "untell" and "no" in state["message"] and "no" in capsys.readouterr().err
    assert ("please report" in state["message"]) == isinstance(failure, KeyError)


def test_a_held_instance_is_left_alone(bench: Bench) -> None:
    record = bench.directory.parent / "instance.json"
    record.write_text('{"state": "held"}')
    code, state = bench.reset()
    assert (code, state["result"]) == (0, "held") and bench.kind.calls == bench.engine.calls == []
    record.write_text('{"state": "present"}')
    assert bench.reset()[1]["result"] == "done"
    record.write_text("{")
    code, state = bench.reset()
    assert code == 1 and "run the site playbook again" in state["message"]


def test_an_instance_that_is_held_while_its_people_are_waited_for_is_left_alone(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def people() -> list[str]:
        (bench.directory.parent / "instance.json").write_text('{"state": "held"}')
        return []

    monkeypatch.setattr(bench.kind, "people", people)
    code, state = bench.reset()
    assert (code, state["result"]) == (0, "held") and "renew" not in bench.kind.calls


def test_an_interrupted_reset_is_reported(bench: Bench) -> None:
    bench.run().step("switch", "")
    _unused, state = bench.reset()
    assert state["warnings"] == ["the last reset was interrupted at the step switch"]
    assert [entry["result"] for entry in state["history"]] == ["done", "interrupted"]


def test_a_pull_is_tried_three_times(bench: Bench) -> None:
    bench.content["pull"] = True
    bench.engine.failures["pull"] = ["i/o timeout", "EOF"]
    code, state = bench.reset(notice=False)
    assert code == 0 and state["warnings"] == [] and bench.slept[:2] == [5, 20]
    bench.engine.failures["pull"] = ["i/o timeout", "EOF", "EOF"]
    code, state = bench.reset(notice=False)
    assert code == 0 and state["warnings"] == ["lab:1 was not pulled; the reset uses the image that is there: EOF"]


@pytest.mark.parametrize(
    "text",
    [
        "manifest for x/lab:1 not found: manifest unknown: manifest unknown",
        "pull access denied for lab",
        "unauthorized: authentication required",
        "write /var/lib/x: no space left on device",
        "docker pull did not end within 9 s",
    ],
)
def test_a_pull_that_no_other_try_mends(bench: Bench, text: str) -> None:
    bench.content["pull"] = True
    bench.engine.failures["pull"] = [text]
    code, state = bench.reset(notice=False)
    assert code == 0 and len(state["warnings"]) == 1 and sum(bench.slept) == 0


NOW = datetime.datetime(2026, 1, 1, 12, tzinfo=datetime.timezone.utc)


def test_who_is_at_work() -> None:
    kernels = [{"name": "r", "execution_state": state} for state in ("idle", "busy", "starting")]
    terminals = [
        {"name": "1", "last_activity": "2026-01-01T11:00:01.000000Z"},
        {"name": "2", "last_activity": "2026-01-01T11:00:00+00:00"},
    ]
    found = lab.at_work({"kernels": kernels, "terminals": terminals}, NOW)
    assert found[0] == "kernel r is busy" and found[1].startswith("terminal 1 was used at") and len(found) == 2


@pytest.mark.parametrize(
    ("page", "good"),
    [
        ('<form method="post"><input type="password"></form>', True),
        ("<form><input type=password></form>", True),
        ("<form></form>", False),
        ("", False),
        ('<input type="password">', False),
    ],
)
def test_login_pages(page: str, good: bool) -> None:
    assert lab.is_login_page(page) == good


def test_the_notice_says_until_when(bench: Bench) -> None:
    at = datetime.datetime(2026, 1, 1, 1, 25, tzinfo=datetime.timezone.utc)
    text = run.notice(bench.run(set_time=at, lead_seconds=300))
    assert text.startswith("This Jupyter is reset at 01:25 UTC, or once nothing is running any more, at 01:26 UTC at ")
    assert run.notice(bench.run(people="ignore")).startswith("This Jupyter is reset now. ")
