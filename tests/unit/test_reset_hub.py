# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a hub's reset asks and believes; tests/integration has it at work on a real hub."""

from __future__ import annotations

import http.server
import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import carrel_reset.hub
import carrel_reset.images
import pytest
from carrel_reset import servers
from carrel_reset.api import Api, ApiError
from carrel_reset.engine import Container
from carrel_reset.servers import HubApi, Server, ServerError, Unfinished, busy

from testbed.patience import SOON
from testbed.web_server import WebServer

Answer = Callable[[http.server.BaseHTTPRequestHandler], None]


def answer(content: object, status: int = 200) -> Answer:
    def act(handler: http.server.BaseHTTPRequestHandler) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return act


class Site:
    """A server on this machine that gives prepared answers and keeps the requests."""

    def __init__(self) -> None:
        self.answers: dict[str, list[Answer]] = {}  # the last one is repeated
        self.asked: list[str] = []
        self.tokens: set[str | None] = set()
        self.hosts: set[str | None] = set()
        site = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                what = f"{self.command} {urlsplit(self.path).path}"
                site.asked.append(f"{self.command} {self.path}")
                site.tokens.add(self.headers["Authorization"])
                site.hosts.add(self.headers["Host"])
                left = site.answers.get(what, [answer({"message": "nothing there"}, 404)])
                (left.pop(0) if len(left) > 1 else left[0])(self)

            do_POST = do_DELETE = do_GET

            def log_message(self, *arguments: object) -> None:
                pass

        self.server = WebServer(Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # nobody is there
    monkeypatch.setattr(servers, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(servers, "CROWDED_SECONDS", 0.01)
    site = Site()
    yield site
    site.close()


@pytest.fixture
def hub(site: Site) -> HubApi:
    return HubApi(site.port, "/class/", "secret", 5)


USER = "/class/hub/api/users/ada%40uni.example"
NAME = "ada@uni.example"


def model(ready: bool | None) -> Answer:
    return answer({"servers": {} if ready is None else {"": {"ready": ready, "url": "/class/user/ada/"}}})


def test_an_answer_is_asked_for_with_the_token_and_without_a_proxy(site: Site) -> None:
    site.answers["GET /a"] = [answer({"b": 1})]
    assert Api(f"http://127.0.0.1:{site.port}", "secret").call("GET", "/a") == {"b": 1}
    assert site.tokens == {"token secret"}


def test_a_redirect_is_not_followed(site: Site) -> None:
    def elsewhere(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(302)
        handler.send_header("Location", "/stolen")
        handler.end_headers()

    site.answers["GET /a"] = [elsewhere]
    with pytest.raises(ApiError) as refused:
        Api(f"http://127.0.0.1:{site.port}", "secret").call("GET", "/a")
    assert refused.value.status == 302 and site.asked == ["GET /a"]


def drops(handler: http.server.BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    for _unused in range(50):
        handler.wfile.write(b" ")
        handler.wfile.flush()
        time.sleep(0.1)


def flood(handler: http.server.BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    for _unused in range(200):
        handler.wfile.write(b" " * 2**16)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (drops, "takes too long"),
        (flood, "too long"),
        (answer(b"<html>"), "something else than JSON"),
        (answer(b"[" * 100_000), "something else than JSON"),
        (answer({"message": "come back later"}, 503), "answers 503: come back later"),
        (answer(b"<html>", 500), "answers 500"),
        (lambda handler: handler.wfile.write(b"what?\r\n"), "does not answer"),
    ],
)
def test_an_answer_of_no_use_is_an_error(site: Site, said: Answer, message: str) -> None:
    site.answers["GET /a"] = [said]
    began = time.monotonic()
    with pytest.raises(ApiError, match=message):
        Api(f"http://127.0.0.1:{site.port}", "", 0.5).call("GET", "/a")
    assert time.monotonic() - began < SOON


def test_nobody_there_is_an_error(site: Site) -> None:
    site.close()
    with pytest.raises(ApiError, match="refused") as refused:
        Api(f"http://127.0.0.1:{site.port}", "").call("GET", "/a")
    assert refused.value.status is None


def page(handler: http.server.BaseHTTPRequestHandler) -> None:
    offset = int(parse_qs(urlsplit(handler.path).query)["offset"][0])
    names = [f"u{number}" for number in range(5)][offset : offset + 2]
    items = [{"name": name, "servers": {"": {"url": f"/user/{name}/"}} if name != "u1" else {}} for name in names]
    following = {"offset": offset + 2} if offset < 4 else None
    answer({"items": items, "_pagination": {"next": following}})(handler)


def test_all_pages_of_active_users_are_read(site: Site, hub: HubApi) -> None:
    site.answers["GET /class/hub/api/users"] = [page]
    assert list(hub.active()) == ["u0", "u2", "u3", "u4"]
    assert all("state=active" in path for path in site.asked)


def test_a_server_that_stops_is_waited_for(site: Site, hub: HubApi) -> None:
    site.answers[f"DELETE {USER}/server"] = [answer(b"", 202)]
    site.answers[f"GET {USER}"] = [model(True), model(False), model(None)]
    hub.stop(NAME)
    assert len(site.asked) == 4


def test_a_deleted_user_has_no_server_to_stop_or_start(site: Site, hub: HubApi) -> None:
    hub.stop(NAME)
    hub.start(NAME)
    assert f"POST {USER}/server" in site.asked


@pytest.mark.parametrize("first", [201, 202, 400, 429])
def test_a_server_is_started_as_it_was_chosen_and_waited_for(site: Site, hub: HubApi, first: int) -> None:
    site.answers[f"GET {USER}"] = [model(None), model(None) if first == 429 else model(False), model(True)]
    site.answers[f"POST {USER}/server"] = [answer(b"", first), answer(b"", 201)]
    hub.start(NAME)
    assert site.asked.count(f"POST {USER}/server") == (2 if first == 429 else 1)


def test_a_server_that_runs_again_is_left_alone(site: Site, hub: HubApi) -> None:
    site.answers[f"GET {USER}"] = [model(True)]
    hub.start(NAME)
    assert site.asked == [f"GET {USER}"]


def test_the_reason_of_a_failed_start_is_reported(site: Site, hub: HubApi) -> None:
    site.answers[f"GET {USER}"] = [model(None)]
    site.answers[f"POST {USER}/server"] = [answer({"message": "no such image"}, 500)]
    with pytest.raises(ServerError, match=f"{NAME} does not start: .* 500: no such image"):
        hub.start(NAME)
    site.answers[f"POST {USER}/server"] = [answer(b"", 202)]
    events = b'data: {"progress": 0}\n\n\n\ndata: {"failed": true, "message": "Spawn failed: no room"}\n\n'
    site.answers[f"GET {USER}/server/progress"] = [answer(events)]
    with pytest.raises(ServerError, match=r"does not start: Spawn failed: no room"):
        hub.start(NAME)


def test_a_server_that_is_never_ready_is_given_up(site: Site) -> None:
    site.answers[f"GET {USER}"] = [model(False)]
    with pytest.raises(ServerError, match="was not ready within 0 s"):
        HubApi(site.port, "/class/", "secret", 0).start(NAME)


def look(site: Site, kernels: Any, terminals: Any, status: int = 200) -> bool:
    site.answers["GET /user/ada/api/kernels"] = [answer(kernels)]
    site.answers["GET /user/ada/api/terminals"] = [answer(terminals, status)]
    return busy(Server("ada", "c1", "lab:1", "i1", "", "/user/ada/", "her own"), site.port)


def terminal(**ago: float) -> list[dict[str, str]]:
    used = datetime.now(timezone.utc) - timedelta(**ago)
    return [{"name": "1", "last_activity": used.strftime("%Y-%m-%dT%H:%M:%S.%fZ")}]


def kernel(state: str) -> list[dict[str, str]]:
    return [{"name": "python3", "execution_state": state}]


def test_idle_kernels_and_forgotten_terminals_are_no_work(site: Site) -> None:
    assert not look(site, [], [])
    assert not look(site, kernel("idle"), terminal(minutes=61))
    assert not look(site, kernel("idle"), {"message": "none here"}, 404)
    assert site.tokens == {"token her own"}, "never the hub's"
    assert all("no_track_activity" in path for path in site.asked)


def test_a_server_with_a_domain_of_its_own_is_asked_under_its_name(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    url = "https://ada.class.example:8443/user/ada/"
    hub = reset_hub(monkeypatch, "skip", {"ada": [False]})
    api: Any = SimpleNamespace(active=lambda: {"ada": {"url": url}})
    monkeypatch.undo()
    monkeypatch.setattr(hub, "_containers", lambda: [CONTAINERS["ada"]])
    monkeypatch.setattr(hub, "_token", lambda _container: "her own")
    (server,) = hub._servers(api, {"c-ada"})
    site.answers["GET /user/ada/api/kernels"] = [answer(kernel("idle"))]
    site.answers["GET /user/ada/api/terminals"] = [answer([])]
    assert not busy(server, site.port) and site.hosts == {"ada.class.example:8443"}


def test_a_busy_kernel_or_a_terminal_used_lately_is_work(site: Site) -> None:
    assert look(site, kernel("busy"), [])
    assert look(site, [], terminal(minutes=59))


@pytest.mark.parametrize("lie", [None, 5, {"a": 1}, ["x"], [{}], [{"name": "1", "last_activity": "now"}]])
def test_what_cannot_be_read_counts_as_work(site: Site, lie: Any) -> None:
    assert look(site, lie, [])
    assert look(site, [], lie)
    assert look(site, [], [], 500)


CONTAINERS = {
    name: Container(f"c-{name}", name, True, None, "i1", "lab:1", {"carrel.user": name}, {})
    for name in ("ada", "grace", "zoe")
}


def reset_hub(monkeypatch: pytest.MonkeyPatch, people: str, at_work: dict[str, list[bool]]) -> Any:
    """A hub's reset. AT_WORK: what each server answers, in turns; the last answer is repeated."""
    told: list[str] = []
    settings = SimpleNamespace(name="class", ports=[1], state_directory="/dev/full")
    run = SimpleNamespace(
        settings=settings, options=SimpleNamespace(people=people), warn=told.append, told=told,
        step=lambda *_words: None,
    )  # fmt: skip
    hub: Any = carrel_reset.hub.Hub(run)  # type: ignore[arg-type]

    def servers_of(_api: object, old: set[str]) -> list[Server]:
        found = [each for each in CONTAINERS.values() if each.id in old]
        return [Server(each.labels["carrel.user"], each.id, "lab:1", "i1", "", "/", "t") for each in found]

    def asked(server: Server, _port: int) -> bool:
        left = at_work[server.user]
        return left.pop(0) if len(left) > 1 else left[0]

    monkeypatch.setattr(hub, "_servers", servers_of)
    monkeypatch.setattr(carrel_reset.hub, "busy", asked)
    return hub


class Hubs:
    def __init__(self) -> None:
        self.stopped: list[str] = []

    def stop(self, user: str) -> None:
        self.stopped.append(user)

    def start(self, user: str) -> None:
        pass


@pytest.mark.parametrize("new", ["i1", "i2"], ids=["the same image", "a new image"])
def test_who_begins_to_work_before_the_turn_comes_is_not_cut_off(monkeypatch: pytest.MonkeyPatch, new: str) -> None:
    hub = reset_hub(monkeypatch, "skip", {"ada": [False, True], "grace": [False], "zoe": [True]})
    monkeypatch.setattr(hub, "_id", lambda _tag: new)
    monkeypatch.setattr(carrel_reset.images, "known_good", lambda *_unused: ["i1"])
    api = Hubs()
    monkeypatch.setattr(hub, "_api", lambda: api)
    hub._renew_servers({each.id for each in CONTAINERS.values()})
    assert api.stopped == ["grace"]
    assert hub.run.told == ["2 servers stay as they are, because people are at work there: ada, zoe"]


def test_nobody_gets_an_image_that_no_server_could_try(monkeypatch: pytest.MonkeyPatch) -> None:
    hub = reset_hub(monkeypatch, "skip", {name: [False, True, False] for name in CONTAINERS})
    monkeypatch.setattr(hub, "_id", lambda _tag: "i2")
    monkeypatch.setattr(carrel_reset.images, "known_good", lambda *_unused: ["i1"])
    api = Hubs()
    monkeypatch.setattr(hub, "_api", lambda: api)
    hub._renew_servers({each.id for each in CONTAINERS.values()})
    assert api.stopped == [] and "3 servers stay" in hub.run.told[0]


def test_the_deadline_cuts_off_also_who_has_just_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    hub = reset_hub(monkeypatch, "ignore", {name: [True] for name in CONTAINERS})
    monkeypatch.setattr(hub, "_id", lambda _tag: "i1")
    monkeypatch.setattr(carrel_reset.images, "known_good", lambda *_unused: ["i1"])
    api = Hubs()
    monkeypatch.setattr(hub, "_api", lambda: api)
    hub._renew_servers({each.id for each in CONTAINERS.values()})
    assert sorted(api.stopped) == ["ada", "grace", "zoe"]


def test_users_without_a_server_are_remembered_after_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "unfinished.json"
    first = Unfinished(str(path))
    assert first.users == []
    for user in ("ä", NAME, "ä"):
        first.add(user)
    assert Unfinished(str(path)).users == [NAME, "ä"]
    first.remove("ä")
    assert Unfinished(str(path)).users == [NAME]
    first.remove(NAME)
    assert not path.exists() and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", ["", "[]", '{"users": 5}', '{"users": [1, null]}'])
def test_a_damaged_file_holds_nobody_up(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "unfinished.json"
    path.write_text(damage)
    assert Unfinished(str(path)).users == []


def test_a_full_disk_holds_nobody_up() -> None:
    unfinished = Unfinished("/dev/full/unfinished.json")
    unfinished.add("ada")
    assert unfinished.users == ["ada"]
