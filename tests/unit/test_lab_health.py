# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a lab's health check requires of a server, run as Docker runs it, and how its answer is used."""

from __future__ import annotations

import http.server
import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.carrel.jupyter.plugins.module_utils._site import lab_health
from ansible_collections.carrel.jupyter.plugins.module_utils._site.lab_health import judge
from carrel_reset import engine, lab
from carrel_reset.engine import Container, EngineError
from carrel_reset.run import ResetError
from test_reset_run import Bench, bench

from testbed.patience import PATIENCE
from testbed.web_server import WebServer

__all__ = ["bench"]  # a fixture
FILES = Path(__file__).parents[2] / "roles" / "lab" / "files"
FORM = '<form><input type="password" name="password"></form>'
VERSION = '{"version": "2.21.1"}'
Serve = Callable[..., int]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start a server with these pages below /tao/, as (status, text); another page is status OTHER."""
    servers = []

    def of(other: int, **pages: tuple[int, str]) -> int:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = self.path.partition("?")[0].removeprefix("/tao/").replace("/", "_")
                status, text = pages.get(path, (other, ""))
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", "/tao/api")
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, format: str, *args: object) -> None:
                pass

        server = WebServer(Handler)
        threading.Thread(target=server.serve_forever).start()
        servers.append(server)
        return server.server_port

    yield of
    for server in servers:
        server.shutdown()
        server.server_close()


def check(port: int) -> tuple[int, str]:
    command = [sys.executable, str(FILES / "healthcheck.py"), "/tao/", str(port)]
    done = subprocess.run(command, text=True, capture_output=True, timeout=PATIENCE, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("other", "pages", "code", "said"),
    [
        (403, {"login": (200, FORM)}, 0, "jupyter_server 2.21.1"),
        (302, {"login": (302, "")}, 0, "jupyter_server 2.21.1"),  # the provider's page, as of single sign-on
        (401, {"login": (404, "")}, 0, "jupyter_server 2.21.1"),
        (404, {"login": (404, ""), "api_contents": (200, "{}")}, 3, "answers at /tao/api/contents"),
        (403, {"login": (302, ""), "api_terminals": (200, "[]")}, 3, "answers at /tao/api/terminals"),
        (200, {"login": (200, "<p>welcome</p>")}, 3, "lets in anybody who does not log in"),
        (500, {"login": (500, "")}, 1, "the server does not answer: /tao/api/contents answers with status 500"),
        (403, {"api": (503, "")}, 1, "/tao/api answers with status 503"),
        (403, {"api": (200, "[]")}, 1, "the server does not answer"),
    ],
)
def test_the_check(serve: Serve, other: int, pages: dict[str, tuple[int, str]], code: int, said: str) -> None:
    found, output = check(serve(other, **{"api": (200, VERSION), **pages}))
    assert (found, said in output) == (code, True), output


def test_a_server_that_is_not_there(serve: Serve) -> None:
    code, output = check(1)
    assert code == 1 and "the server does not answer" in output


@pytest.mark.parametrize(
    ("server", "problem"),
    [
        ({"root_dir": "/work", "token": "declared", "pid": 7}, ""),
        ({}, ""),
        ({"root_dir": "/work", "token": "declared", "pid": 8}, "the server does not accept only the declared"),
        ({"root_dir": "/tmp", "token": "declared"}, "the server shows /tmp, but only /work is kept"),
        ({"root_dir": "/work", "token": ""}, "the server accepts another token than the declared one"),
        ({"root_dir": "/work", "token": "everybody-knows"}, "the server accepts another token than the declared one"),
    ],
)
def test_a_server_that_has_started(server: dict[str, str], problem: str) -> None:
    program = (
        "import json, sys, started as s; print(s.complaint(*map(json.loads, sys.argv[1:]), '/work', 'declared') or '')"
    )
    command = [sys.executable, "-c", program, json.dumps(server), json.dumps({"pid": 7} if server else {})]
    done = subprocess.run(command, text=True, capture_output=True, check=True, env={"PYTHONPATH": str(FILES)})
    assert done.stdout.startswith(problem) and bool(problem) == bool(done.stdout.strip())


def container(status: str = "healthy", *checks: tuple[str, int], **state: Any) -> dict[str, Any]:
    log = [
        {"Start": f"2026-11-25T{at}.123456789+01:00", "ExitCode": code, "Output": f"{code}\n"} for at, code in checks
    ]
    started = {"Running": True, "Restarting": False, "ExitCode": 0, "StartedAt": "2026-11-25T17:00:00.5Z"}
    return {"State": {**started, "Health": {"Status": status, "Log": log}, **state}}


OLD, NEW = "17:59:59", "18:00:10"
LATER = datetime(2026, 11, 25, 17, 0, 20, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("inspected", "since", "ready", "failed", "is_open"),
    [
        (container("healthy", (NEW, 0)), None, True, False, False),
        (container("healthy", (OLD, 0)), None, False, False, False),  # of before the container was started again
        (container("healthy", (NEW, 0)), LATER, False, False, False),
        (container("healthy", ("18:00:30", 0)), LATER, True, False, False),
        (container("starting", (NEW, 1)), None, False, False, False),
        (container("unhealthy", (NEW, 1)), None, False, False, False),
        (container("healthy", (NEW, 0), ("18:00:30", 1)), None, False, False, False),
        (container("starting", (NEW, 3)), None, False, True, True),
        (container("healthy", (NEW, 0), ("18:00:30", 3)), None, False, True, True),
        (container("starting", (OLD, 3)), None, False, False, False),
        (container("starting", (NEW, 3), Restarting=True), None, False, False, False),
        (container(Running=False, ExitCode=1), None, False, True, False),
        (container(Health=None), None, False, False, False),
        (None, None, False, True, False),
    ],
)
def test_the_verdict(
    inspected: dict[str, Any] | None, since: datetime | None, ready: bool, failed: bool, is_open: bool
) -> None:
    verdict = judge(inspected, since)
    assert (verdict.ready, verdict.failed, verdict.open) == (ready, failed, is_open)
    assert verdict.seen


@pytest.mark.parametrize("time", [None, 5, "", "now", [], "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
@pytest.mark.parametrize("since", [None, LATER])
def test_an_engine_whose_times_are_none(time: object, since: datetime | None) -> None:
    assert not judge(container("healthy", (NEW, 0), StartedAt=time), since).ready
    log = [{"Start": time, "ExitCode": 0, "Output": ""}]
    assert judge(container(Health={"Status": "healthy", "Log": log}), since).seen == "it has not been checked yet"


def test_everybody_means_the_same_exit_code() -> None:
    code = subprocess.run([sys.executable, "-c", "import healthcheck; print(healthcheck.OPEN)"], cwd=FILES,
                          capture_output=True, text=True, check=True)  # fmt: skip
    assert int(code.stdout) == lab_health.OPEN == engine.OPEN


class Servers(lab.Lab):
    """Two containers, of which compose makes one that is like the state NEXT."""

    def __init__(self, bench: Bench, *states: str, next_one: str) -> None:
        super().__init__(bench.run())
        self.states = dict(enumerate(states, 1))
        self.next_one = next_one
        self.engine.compose = self.compose  # type: ignore[method-assign]

    def compose(self, *arguments: str, timeout: int = 120) -> str:
        which = int(arguments[-1][-1])
        if arguments[0] == "up":
            self.states[which] = self.next_one
        elif arguments[0] == "rm":
            self.states.pop(which)
        return '{"services": {"lab-1": {"image": "lab:1"}}}' if arguments[0] == "config" else ""

    def _container(self, which: int) -> Container | None:
        state = self.states.get(which)
        health = "healthy" if state == "healthy" else "starting"
        return Container("1", "1", True, health, "sha256:a", "lab:1", {}, {}, state == "open") if state else None


def test_a_reset_does_not_go_over_to_a_server_that_lets_in_anybody(bench: Bench) -> None:
    servers = Servers(bench, "healthy", next_one="open")
    with pytest.raises(ResetError, match="server 2 lets in anybody who does not log in"):
        servers.renew()
    assert servers.states == {1: "healthy"} and servers.server() == 1


def test_a_reset_leaves_no_server_running_that_lets_in_anybody(bench: Bench) -> None:
    servers = Servers(bench, "open", next_one="open")
    servers.recover()
    assert servers.states == {} and not servers.answers()
    warned = " ".join(servers.run.state.content["warnings"])
    assert "server 1 lets in anybody who does not log in; it is removed" in warned


def test_a_reset_brings_back_an_instance_whose_new_server_asks_for_a_log_in(bench: Bench, serve: Serve) -> None:
    port = serve(403, api=(200, VERSION), login=(200, FORM))
    bench.content["ports"] = [port, port]
    servers = Servers(bench, "open", next_one="healthy")
    servers.recover()
    assert servers.states == {1: "healthy"} and servers.answers()


class Smoked(Servers):
    """Their smoke notebooks say SAYS, and fail if it is an error."""

    says = "check.ipynb passed in 1 s"
    refuses = ""

    def _carrel(self, container: Container, script: str, *arguments: str, timeout: int = 60, text: str = "") -> str:
        if script != "smoke.py":
            return ""
        assert timeout == 360 and arguments == ("/tao/",)
        self.engine.docker("exec", script)
        if self.refuses:
            raise EngineError(self.refuses)
        return self.says


@pytest.fixture
def smoked(bench: Bench, serve: Serve, tmp_path: Path) -> Smoked:
    port = serve(403, api=(200, VERSION), login=(200, FORM))
    bench.content.update(
        ports=[port, port], directory=str(tmp_path), smoke_seconds=240, url=f"http://127.0.0.1:{port}/tao/"
    )
    (tmp_path / "server").mkdir()
    (tmp_path / "server" / "smoke.json").write_text("{}")
    return Smoked(bench, "healthy", next_one="healthy")


def test_a_new_server_passes_its_smoke_notebooks_before_people_get_it(smoked: Smoked) -> None:
    smoked.renew()
    assert smoked.states == {2: "healthy"} and smoked.run.state.content["smoke"] == "check.ipynb passed in 1 s"


def test_one_that_does_not_is_taken_away(smoked: Smoked) -> None:
    why = "check.ipynb, cell 2: ImportError: \x1b[31mlibgeo"
    smoked.refuses = f"docker exec 1 python3 /etc/carrel/smoke.py failed with exit code 1:\n{why}"
    with pytest.raises(
        ResetError, match=f"server 2 is not healthy, .* failed: {re.escape('check.ipynb, cell 2: ImportError')}"
    ):
        smoked.renew()
    assert smoked.states == {1: "healthy"} and smoked.server() == 1
    assert smoked.run.state.content["smoke"] == "failed: check.ipynb, cell 2: ImportError: libgeo"


@pytest.mark.parametrize("seconds", [0, 240])
def test_notebooks_that_are_not_declared_or_not_deployed_yet_do_not_run(
    bench: Bench, smoked: Smoked, tmp_path: Path, seconds: int
) -> None:
    bench.content["smoke_seconds"] = seconds
    if seconds:
        (tmp_path / "server" / "smoke.json").unlink()
    other = Smoked(bench, "healthy", next_one="healthy")
    other.renew()
    assert other.states == {2: "healthy"} and other.run.state.content["smoke"] is None
    assert "exec smoke.py" not in bench.engine.calls


def test_what_must_not_run_is_removed_once_it_has_started(bench: Bench, serve: Serve) -> None:
    port = serve(403, api=(200, VERSION), login=(200, FORM))
    bench.content["ports"] = [port, port]
    servers = Servers(bench, next_one="healthy")
    bench.engine.failures["exec"] = ["the server accepts another token than the declared one"]
    with pytest.raises(EngineError, match="another token"):
        servers._start(2)
    assert servers.states == {}
