# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which images the tags mean during and after a reset, with an engine that only says what was asked of it."""

from __future__ import annotations

import dataclasses
import datetime
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from carrel_reset import claims, images, run, settings, trial
from carrel_reset import hub as hub_module
from carrel_reset.engine import Container, EngineError, Image
from carrel_reset.hub import Hub
from carrel_reset.run import ResetError, Run
from carrel_reset.servers import Server, ServerError
from test_reset_run import CONTENT, Bench, FakeEngine, bench

__all__ = ["bench"]  # a fixture


@pytest.mark.parametrize("why", ["people at work", "the command before", "held", "a playbook"])
def test_a_reset_that_ends_before_it_begins_leaves_no_untried_image_under_a_tag(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    monkeypatch.setattr(claims, "FILE", f"{tmp_path}/claim-{{}}")

    class Registry(FakeEngine):
        def docker(self, *arguments: str, **options: Any) -> str:
            if arguments[0] == "pull":
                self.images["lab:1"] = "sha256:new"
                if why == "held":
                    (tmp_path / "instance.json").write_text('{"state": "held"}')
                if why == "a playbook":
                    (tmp_path / "claim-tao").write_bytes(claims.claim("a playbook", 30))
            return super().docker(*arguments, **options)

        def image(self, name: str, tag: str | None = None) -> Image | None:
            return super().image(name, tag) or Image(name, None)

    bench.engine = Registry()
    bench.content.update(pull=True, before=["false"] if why == "the command before" else None)
    bench.kind.reasons = [["a kernel is busy"]] if why == "people at work" else []
    _code, state = bench.reset(people="skip")
    assert "renew" not in bench.kind.calls, state
    moved = [call for call in bench.engine.calls if call.startswith("tag ")]
    assert moved == ([] if why == "a playbook" else ["tag sha256:a lab:1"])


class Killed(BaseException):
    pass


@pytest.mark.parametrize("at", ["the pull", "people", "renew", "the end"])
@pytest.mark.parametrize("runs", ["sha256:a", "sha256:new"])
def test_what_a_killed_reset_has_pulled_goes_back_unless_people_have_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, at: str, runs: str
) -> None:
    class Registry(FakeEngine):
        def docker(self, *arguments: str, **options: Any) -> str:
            if arguments[0] == "pull" and self.images["lab:1"] == "sha256:a":
                self.images.update({"lab:1": "sha256:new", "sha256:a": "sha256:a"})
                if at == "the pull":
                    raise Killed
            if arguments[0] == "tag":
                self.images[arguments[2]] = arguments[1]
            return super().docker(*arguments, **options)

    def killed(*_given: object) -> None:
        raise Killed

    bench.engine = Registry()
    bench.content["pull"] = True
    with monkeypatch.context() as patched, pytest.raises(Killed):
        if at in ("people", "renew"):
            patched.setattr(bench.kind, at, killed)
        if at == "the end":
            patched.setattr(images, "prune", killed)
        bench.reset()
    assert bench.engine.images["lab:1"] == "sha256:new"
    monkeypatch.setattr(bench.kind, "running", lambda: {"lab:1": runs})
    bench.content["pull"] = False
    bench.kind.reasons = [["a kernel is busy"]]
    _code, state = bench.reset(people="skip")
    goes_back = runs == "sha256:a" and at != "the end"
    assert bench.engine.images["lab:1"] == ("sha256:a" if goes_back else "sha256:new")
    assert any("lab:1 means sha256:a again" in text for text in state["warnings"]) is goes_back
    assert state["result"] == "put off" and state["pulled"] == {}


@pytest.mark.parametrize(
    ("found", "settings_of_alpha", "warning"),
    [
        ("sha256:new", {}, "lab:1 keeps the image that this reset pulled, but did not try: alpha may use it"),
        ("sha256:new", {"account": "another"}, None),
        ("sha256:new", {"images": ["lab:2"]}, None),
        ("sha256:new", {"images": None}, "could not be changed back: the settings of alpha cannot be read"),
        ("sha256:newer", {}, "lab:1 stays as it is: it has got another image since this reset pulled sha256:new"),
        ("sha256:a", {}, None),
    ],
)
def test_a_reset_that_is_put_off_takes_no_image_from_the_other_instances_of_its_engine(
    bench: Bench,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    found: str,
    settings_of_alpha: dict[str, Any],
    warning: str | None,
) -> None:
    monkeypatch.setattr(settings, "FOLDER", str(tmp_path))
    for name, changes in (("tao", {}), ("alpha", settings_of_alpha)):
        (tmp_path / f"{name}.json").write_text(json.dumps({**CONTENT, "name": name, **changes}))
    bench.engine.images["lab:2"] = "sha256:b"

    def pull(run: Run, _deployed: list[str]) -> None:
        run.pulled["lab:1"] = ("sha256:a", "sha256:new")
        bench.engine.images["lab:1"] = found  # another reset may have changed it, too

    monkeypatch.setattr(images, "pull", pull)
    bench.content["pull"] = True
    bench.kind.reasons = [["a kernel is busy"]]
    _code, state = bench.reset(people="skip")
    moved = [call for call in bench.engine.calls if call.startswith("tag ")]
    assert state["result"] == "put off"
    assert moved == (["tag sha256:a lab:1"] if found == "sha256:new" and warning is None else [])
    assert len(state["warnings"]) == bool(warning) and (warning or "") in "".join(state["warnings"])


def test_restore_moves_only_the_tags_that_moved(bench: Bench) -> None:
    bench.engine.images["lab:2"] = "sha256:new"
    images.restore(bench.run(), {"lab:1": "sha256:a", "lab:2": "sha256:old"})
    assert bench.engine.calls == ["tag sha256:old lab:2"]


def test_what_is_expired() -> None:
    now = datetime.datetime(2026, 1, 31, tzinfo=datetime.timezone.utc)
    healthy = [
        {"id": name, "until": f"2026-01-{day:02}T00:00:00+00:00"}
        for name, day in (("a", 31), ("b", 1), ("a", 1), ("c", 17), ("d", 16))
    ]
    assert images.expired(healthy, 14, now) == ["b", "d"]


BUILT = "statistics:0f5a3c9d1e2b"


@pytest.mark.parametrize(
    ("own", "tags", "kept"),
    [
        ("lab:1", ["lab:1"], []),
        ("lab:1", ["lab:1", "mine:1"], ["mine:1"]),
        ("lab:1", ["r.example.org/lab:1"], ["r.example.org/lab:1"]),
        ("docker.io/org/lab:1.0", ["org/lab:1.0"], []),
        ("docker.io/library/debian:12", ["debian:12"], []),
        (BUILT, [BUILT, f"r.example.org:5000/jupyter/{BUILT}"], []),
        (BUILT, [BUILT, "r.example.org/statistics:latest"], ["r.example.org/statistics:latest"]),
        (BUILT, [f"my{BUILT}"], [f"my{BUILT}"]),
        ("r.example.org/lab@sha256:1", [], []),
    ],
)
def test_an_unused_image_is_removed_with_all_its_own_tags(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, own: str, tags: list[str], kept: list[str]
) -> None:
    digests = ["r.example.org/lab@sha256:1"]

    class Raw(FakeEngine):
        def docker(self, *arguments: str, **options: Any) -> str:
            super().docker(*arguments, **options)
            return json.dumps([{"RepoTags": tags, "RepoDigests": digests}]) if arguments[1] == "inspect" else ""

    bench.engine = Raw()
    of_it = bench.run()
    old = (datetime.datetime.now().astimezone() - datetime.timedelta(days=99)).isoformat()
    of_it.state.content["healthy"] = [{"image": own, "id": "sha256:a", "since": old, "until": old, "digest": None}]
    of_it.settings = dataclasses.replace(of_it.settings, prune_days=14)
    monkeypatch.setattr(images, "_needed", lambda _run: set())
    images.prune(of_it)
    assert images.foreign(tags, [own]) == kept
    removed = [call for call in bench.engine.calls if call.startswith("image rm")]
    assert removed == ([] if kept else [" ".join(["image rm", *tags, *digests])])
    assert bool(of_it.state.content["healthy"]) is bool(kept), "what stays is remembered"


class Tags(FakeEngine):
    """Two images of a hub that are new, and their tags, which `docker tag` moves."""

    def __init__(self) -> None:
        super().__init__()
        self.old = {"a:1": "sha256:old-a", "b:1": "sha256:old-b"}
        self.new = {"a:1": "sha256:new-a", "b:1": "sha256:new-b"}
        # An image without a tag is found by its id.
        self.images = {**self.new, **{image_id: image_id for image_id in self.old.values()}}
        self.used: dict[str, list[str]] = {}  # ids of the images that users' servers run, by tag

    def containers(self, **labels: str) -> list[Container]:
        return [
            Container(f"c{number}", "name", True, None, image_id, tag, {"carrel.user": "ada"}, None)
            for tag, ids in self.used.items()
            for number, image_id in enumerate(ids)
        ]

    def docker(self, *arguments: str, timeout: int = 60, text: str = "", errors_too: bool = False) -> str:
        if arguments[0] == "tag":
            self.images[arguments[2]] = arguments[1]
        return super().docker(*arguments, timeout=timeout, text=text, errors_too=errors_too)


@pytest.fixture
def renewed(bench: Bench, tmp_path: Path) -> Hub:
    bench.engine = Tags()
    (tmp_path / "hub").mkdir()
    config = {
        "images": [{"image": "a:1"}, {"image": "b:1"}], "command": ["own-program"],
        "spawn_timeout_seconds": 60, "http_timeout_seconds": 30,
    }  # fmt: skip
    (tmp_path / "hub" / "config.json").write_text(json.dumps(config))
    bench.content.update(kind="hub", directory=str(tmp_path), images=["a:1", "b:1"])
    of_it = bench.run()
    of_it.state.runs(None, {tag: {"id": image_id, "digest": None} for tag, image_id in bench.engine.old.items()})
    of_it.pulled = {tag: (image_id, bench.engine.new[tag]) for tag, image_id in bench.engine.old.items()}
    return Hub(of_it)


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        ("a:1", ResetError("check.ipynb, cell 2: ImportError: libgeo")),
        ("b:1", EngineError("docker compose up failed")),
        ("a:1", OSError("smoke/compose.yaml: too big")),
    ],
)
def test_no_tag_means_a_new_image_that_was_not_tried(
    renewed: Hub, monkeypatch: pytest.MonkeyPatch, bad: str, error: Exception
) -> None:
    tried = []

    def attempt(_run: object, tag: str, _seconds: int) -> None:
        tried.append(tag)
        if tag == bad:
            raise error

    monkeypatch.setattr(trial, "attempt", attempt)
    engine = renewed.run.engine
    assert isinstance(engine, Tags)
    with pytest.raises(ResetError) as refused:
        renewed.renew()
    said = f"{error}"
    for tag, old in engine.old.items():
        passed = tag in tried and tag != bad
        said += "" if passed else f"\n{tag} was new ({engine.new[tag]}) and means {old} again"
        assert engine.images[tag] == (engine.new if passed else engine.old)[tag]
    assert str(refused.value) == said


@pytest.mark.parametrize("by", ["an earlier reset", "the site playbook"])
@pytest.mark.parametrize(("accepted", "bad"), [("a:1", "b:1"), ("b:1", "a:1")])
def test_a_new_image_that_fails_takes_back_none_that_was_accepted_before(
    bench: Bench, renewed: Hub, monkeypatch: pytest.MonkeyPatch, by: str, accepted: str, bad: str
) -> None:
    """Nobody's server has run during a reset since then."""
    engine = renewed.run.engine
    assert isinstance(engine, Tags)
    if by == "an earlier reset":
        engine.images[bad] = engine.old[bad]
        monkeypatch.setattr(trial, "attempt", lambda *_given: None)
        renewed._check_new_images()
        run._note_running(renewed.run, renewed)
        assert renewed.run.state.content["images"][accepted]["id"] == engine.new[accepted]
    tried = []

    def attempt(_run: object, tag: str, _seconds: int) -> None:
        tried.append(tag)
        if tag == bad:
            raise ResetError("check.ipynb, cell 2: ImportError: libgeo")

    monkeypatch.setattr(trial, "attempt", attempt)
    later = bench.run()
    engine.images.update({bad: "sha256:newer", engine.new[bad]: engine.new[bad]})
    later.pulled = {bad: (engine.new[bad], "sha256:newer")}
    with pytest.raises(ResetError, match=f"{bad} was new .sha256:newer. and means {engine.new[bad]} again"):
        Hub(later)._check_new_images()
    assert {tag: engine.images[tag] for tag in engine.new} == engine.new, "what people have used all day"
    assert accepted not in tried or by == "the site playbook"


def server(tag: str, image_id: str, user: str = "ada") -> Server:
    return Server(user, f"container of {user}", tag, image_id, "", f"/class/user/{user}/", "secret")


class Starts:
    """In place of the hub's API. Servers start unless their home is BROKEN, or the image that a tag means is BAD."""

    def __init__(self, engine: Tags, users: dict[str, str], broken: set[str], bad: set[str]) -> None:
        self.engine, self.users, self.broken, self.bad = engine, users, broken, bad
        self.started: list[tuple[str, str]] = []

    def stop(self, user: str) -> None:
        pass

    def start(self, user: str) -> None:
        image_id = self.engine.images[self.users[user]]
        self.started.append((user, image_id))
        if user in self.broken or image_id in self.bad:
            raise ServerError(f"the server of {user} does not start")

    def renew(self, hub: Hub) -> None:
        hub._cut_off = True  # nobody can be asked here whether people are at work
        hub._renew(self, [server(tag, self.engine.old[tag], user) for user, tag in self.users.items()])  # type: ignore[arg-type]


PEOPLE = ["aaa", "ada", "eve", "grace", "zoe"]


@pytest.mark.parametrize("users", [PEOPLE[:1], PEOPLE[:2], PEOPLE[:3], PEOPLE])
def test_if_no_server_starts_no_tag_means_a_new_image(renewed: Hub, users: list[str]) -> None:
    engine = renewed.run.engine
    assert isinstance(engine, Tags)
    api = Starts(engine, dict.fromkeys(users, "a:1"), set(), {engine.new["a:1"]})
    with pytest.raises(ResetError) as refused:
        api.renew(renewed)
    tried = [user for user, image_id in api.started if image_id == engine.new["a:1"]]
    assert len(tried) == len(set(tried)) == min(3, len(users)), "the others' servers go on running"
    assert str(refused.value) == "\n".join(
        [*(f"the server of {user} does not start" for user in tried)]
        + [f"{tag} was new ({engine.new[tag]}) and means {old} again" for tag, old in engine.old.items()]
    )
    assert {tag: engine.images[tag] for tag in engine.old} == engine.old
    assert sorted(api.started[len(tried) :]) == [(user, engine.old["a:1"]) for user in sorted(tried)]
    assert renewed.run.state.content["warnings"] == [] and renewed._unfinished.users == []


@pytest.mark.parametrize("broken", [{"aaa"}, {"zoe"}, {"ada", "eve"}, {"aaa", "ada"}])
@pytest.mark.parametrize("order", [1, -1])
def test_nobody_s_home_keeps_a_new_image_from_the_others(
    renewed: Hub, monkeypatch: pytest.MonkeyPatch, broken: set[str], order: int
) -> None:
    engine = renewed.run.engine
    assert isinstance(engine, Tags)
    # those with broken homes come first, or last
    monkeypatch.setattr(
        hub_module, "_RANDOM", SimpleNamespace(sample=lambda its, most: sorted(its, key=bad_first)[::order][:most])
    )

    def bad_first(each: Server) -> bool:
        return each.user not in broken

    api = Starts(engine, dict.fromkeys(PEOPLE, "a:1"), broken, set())
    api.renew(renewed)
    assert sorted(api.started) == [(user, engine.new["a:1"]) for user in PEOPLE], "each once"
    assert engine.images["a:1"] == engine.new["a:1"] and renewed._unfinished.users == []
    assert len(renewed.run.state.content["warnings"]) == len(broken)
    for user in broken:
        assert any(f"the server of {user} does not start" in text for text in renewed.run.state.content["warnings"])
        assert order < 0 or any(f"look at {user}'s home" in text for text in renewed.run.state.content["warnings"])


def test_whoever_is_alone_with_a_broken_home_is_named(renewed: Hub) -> None:
    """There is no telling whether the image would do."""
    engine = renewed.run.engine
    assert isinstance(engine, Tags)
    api = Starts(engine, {"eve": "a:1"}, {"eve"}, set())
    with pytest.raises(ResetError):
        api.renew(renewed)
    assert engine.images["a:1"] == engine.old["a:1"]
    (warning,) = renewed.run.state.content["warnings"]
    assert "from the image from before, too: look at eve's home" in warning and renewed._unfinished.users == []


def test_a_bad_home_with_one_image_says_nothing_of_another(renewed: Hub) -> None:
    engine = renewed.run.engine
    assert isinstance(engine, Tags)
    api = Starts(engine, {"ada": "a:1", "bob": "a:1", "eve": "b:1"}, {"bob"}, {engine.new["b:1"]})
    with pytest.raises(ResetError, match="b:1 was new"):
        api.renew(renewed)
    assert engine.images["a:1"] == engine.new["a:1"] and engine.images["b:1"] == engine.old["b:1"]


def test_an_image_that_was_refused_is_not_known_to_work_because_somebody_uses_it(renewed: Hub) -> None:
    engine = renewed.run.engine
    assert isinstance(engine, Tags)
    engine.images.update(engine.old)
    engine.used = {"a:1": [engine.new["a:1"]], "b:1": [engine.new["b:1"], engine.old["b:1"]]}
    assert renewed.running() == {"b:1": engine.old["b:1"]}
    engine.images.update(engine.new)  # the site playbook has tried it
    assert renewed.running() == engine.new
    engine.used = {}
    assert renewed.running() == {}
    renewed.run.state.content["healthy"] = []  # the hub's first reset
    assert renewed.running() == engine.new
