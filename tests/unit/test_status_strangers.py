# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""instance_status and what root asks engines, against accounts and containers that mean harm."""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import pwd
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.carrel.jupyter.plugins.module_utils._changes.file import File
from ansible_collections.carrel.jupyter.plugins.module_utils._host import (
    files,
    image_probe,
    instance_status,
    process,
    programs,
    sockets,
)
from ansible_collections.carrel.jupyter.plugins.module_utils._host.engine_api import EngineAPI, EngineError
from ansible_collections.carrel.jupyter.plugins.module_utils._host.request import ask
from ansible_collections.carrel.jupyter.plugins.module_utils._report import printable
from ansible_collections.carrel.jupyter.plugins.module_utils._report.report import rows, table
from ansible_collections.carrel.jupyter.plugins.module_utils._site.health import target

from testbed.patience import PATIENCE, SOON

ACCOUNT = getpass.getuser()
UID = pwd.getpwnam(ACCOUNT).pw_uid
OPTIONS = {"names": None, "connect_to": "127.0.0.1", "timeout_seconds": 1, "disk": True, "disk_timeout_seconds": 5}
OK = b"HTTP/1.1 200 OK\r\n"
Say = Callable[[socket.socket], None]


def answer(content: Any) -> Say:
    body = json.dumps(content).encode() if not isinstance(content, bytes) else content

    def say(connection: socket.socket) -> None:
        while b"\r\n\r\n" in connection.recv(65536):
            connection.sendall(OK + b"Content-Length: %d\r\n\r\n" % len(body) + body)

    return say


def drops(begin: bytes, drop: bytes = b"1") -> Say:
    def say(connection: socket.socket) -> None:
        connection.sendall(begin)
        while True:
            connection.sendall(drop)
            time.sleep(0.05)

    return say


def flood(connection: socket.socket) -> None:
    connection.sendall(OK + b"\r\n")
    while True:
        connection.sendall(b" " * 2**16)


def silent(connection: socket.socket) -> None:
    connection.recv(1)
    time.sleep(30)


@contextlib.contextmanager
def serving(server: socket.socket, say: Say) -> Iterator[None]:
    def serve() -> None:
        while True:
            try:
                connection, _unused = server.accept()
            except OSError:
                return
            threading.Thread(target=one, args=[connection], daemon=True).start()

    def one(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            say(connection)

    threading.Thread(target=serve, daemon=True).start()
    yield
    server.shutdown(socket.SHUT_RDWR)
    server.close()


@contextlib.contextmanager
def engine(path: Path, say: Say) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen()
    with serving(server, say):
        yield


LISTED = {"Id": "a", "Labels": {"com.docker.compose.project": "tao"}, "State": "running"}
CONTAINER = {
    "Name": "/tao-lab-1", "Image": "sha256:a", "RepoDigests": ["x@sha256:b"], "Id": "sha256:a", "LayersSize": 5,
    "Config": {"Labels": {}, "Image": "lab:1"},
    "State": {"Status": "running", "Running": True, "StartedAt": "2030-01-01T00:00:00Z", "Health": None},
}  # fmt: skip


def docker(about: Any, listed: Any = (LISTED,)) -> Say:
    """The list of containers, and the same about each and its image."""

    def say(connection: socket.socket) -> None:
        while b"\r\n\r\n" in (asked := connection.recv(65536)):
            body = json.dumps(list(listed) if b"/containers/json" in asked else about).encode()
            connection.sendall(OK + b"Content-Length: %d\r\n\r\n" % len(body) + body)

    return say


class Host:
    """A folder that stands for a host's root, with an instance whose engine is this account's."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.socket = root / "run" / "user" / str(UID) / "docker.sock"
        self.add("tao", ACCOUNT)
        self.reset = root / "var/lib/carrel/tao/reset"
        self.reset.mkdir()

    def add(self, name: str, account: str) -> None:
        (self.root / "srv" / name).mkdir(parents=True)
        record = self.root / "var/lib/carrel" / name / "instance.json"
        record.parent.mkdir(parents=True)
        content = {"name": name, "kind": "lab", "state": "present", "engine": account, "directory": f"/srv/{name}"}
        record.write_text(json.dumps({**content, "url": "http://127.0.0.1:9/"}))

    def status(self, **options: Any) -> dict[str, Any]:
        found = instance_status.collect(str(self.root), {**OPTIONS, **options}, datetime.now(timezone.utc))
        assert table(rows({"host": {"instances": found}}, datetime.now(timezone.utc)))
        json.dumps(found).encode()
        return {entry["name"]: entry for entry in found}


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


@pytest.mark.parametrize(
    ("say", "error"),
    [
        (drops(b""), "timed out"),
        (drops(OK + b"X: "), "timed out"),
        (drops(OK + b"\r\n"), "timed out"),
        (drops(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"), "timed out"),
        (silent, "timed out"),
        (flood, "sends more than"),
        (answer(b"[" * 10**6), "does not answer as Docker does"),
        (answer(b"{"), "does not answer as Docker does"),
        (lambda connection: connection.sendall(b"\x1b[2J\r\n\r\n"), "does not answer"),
        (lambda connection: None, "does not answer"),
    ],
)
def test_a_socket_without_an_engine(host: Host, say: Say, error: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is one problem in the row of its instance, soon, and other instances have their own."""
    monkeypatch.setattr("ansible_collections.carrel.jupyter.plugins.module_utils._host.engine_api.LONGEST", 10**6)
    host.add("geo", "nobody-of-this-name")
    began = time.monotonic()
    with engine(host.socket, say):
        found = host.status()
    assert time.monotonic() - began < SOON
    assert error in found["tao"]["engine"]["error"] and "\x1b" not in found["tao"]["engine"]["error"]
    assert found["geo"]["engine"]["error"] == "the host has no account nobody-of-this-name"


NONSENSE = [None, [], {}, 0, "x", [[]], [None], [{}], [LISTED] * 2, {"Labels": 1}, True, float("inf"), "\x1b[2J"]


@pytest.mark.parametrize("content", NONSENSE)
def test_an_engine_that_answers_nonsense(host: Host, content: Any) -> None:
    with engine(host.socket, answer(content)):
        assert host.status()["tao"]["health"] == "error"


KEYS = [*CONTAINER, "Config.Labels", "Config.Image", "State.Status", "State.Health", "State.StartedAt", "State.Running"]
NO_TIMES = ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"]


@pytest.mark.parametrize("key", KEYS)
def test_a_container_with_arbitrary_values(host: Host, key: str) -> None:
    for value in [*NONSENSE, *NO_TIMES, float("nan"), 10**400]:
        about = json.loads(json.dumps(CONTAINER))
        place, _unused, name = key.rpartition(".")
        (about[place] if place else about)[name] = value
        with engine(host.socket, docker(about)):
            status = host.status()["tao"]
        assert status["engine"]["running"] and "\x1b" not in str(status) and "\\x1b" not in str(status)
        host.socket.unlink()


def test_more_containers_than_anybody_has(host: Host) -> None:
    with engine(host.socket, docker(CONTAINER, [LISTED] * 1000)):
        status = host.status()["tao"]
    assert any("the engine lists 1000 containers" in problem["text"] for problem in status["problems"])


def test_all_answers_together_have_an_end(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instance_status, "ENGINE_SECONDS", 1)

    def slow(connection: socket.socket) -> None:
        time.sleep(0.4)
        docker(CONTAINER, [LISTED] * 50)(connection)

    def slowly(connection: socket.socket) -> None:
        while asked := connection.recv(65536):
            time.sleep(0.4)
            body = json.dumps([LISTED] * 50 if b"/containers/json" in asked else CONTAINER).encode()
            connection.sendall(OK + b"Content-Length: %d\r\n\r\n" % len(body) + body)

    began = time.monotonic()
    with engine(host.socket, slowly):
        status = host.status()["tao"]
    assert time.monotonic() - began < SOON and status["containers"] is None


def test_escape_sequences_become_question_marks(host: Host) -> None:
    evil = "\x1b]0;x\x07\x9b2J\u202e"
    about = {**CONTAINER, "Name": f"/{evil}", "Image": evil, "Config": {"Labels": {}, "Image": evil}}
    state = {"result": "failed", "step": evil, "message": evil, "warnings": [evil], "started": evil, "history": []}
    (host.reset / "state.json").write_text(json.dumps(state))
    with engine(host.socket, docker(about)):
        status = host.status()["tao"]
    told = json.dumps(status, ensure_ascii=False)
    assert "?]0;x??2J?" in told and not set(evil) & set("\x1b\x07\x9b\u202e") & set(told)


def pipe(path: Path) -> None:
    os.mkfifo(path)


def endless(path: Path) -> None:
    with path.open("wb") as stream:
        stream.truncate(200 * 10**9)


def link(path: Path) -> None:
    path.symlink_to("/etc/passwd")


@pytest.mark.parametrize("trap", [pipe, endless, link, Path.mkdir])
def test_a_trap_as_the_resets_state(host: Host, trap: Callable[[Path], None]) -> None:
    trap(host.reset / "state.json")
    began = time.monotonic()
    status = host.status()["tao"]
    assert time.monotonic() - began < SOON
    assert status["reset"] is None
    assert any("reset/state.json cannot be read" in problem["text"] for problem in status["problems"])


@pytest.mark.parametrize("trap", [pipe, link, Path.mkdir])
def test_a_trap_as_the_resets_lock(host: Host, trap: Callable[[Path], None]) -> None:
    trap(host.reset / "lock")
    (host.reset / "state.json").write_text('{"result": "running"}')
    assert host.status()["tao"]["reset"]["result"] == "interrupted"


def test_a_file_that_is_too_long_is_refused(tmp_path: Path) -> None:
    endless(tmp_path / "file")
    with pytest.raises(files.UnsafePathError, match="has more than"):
        files.read(str(tmp_path / "file"))
    (tmp_path / "short").write_bytes(b"12345")
    assert files.read(str(tmp_path / "short"), 5) == File(
        b"12345", (tmp_path / "short").stat().st_mode & 0o777, UID, os.getgid()
    )
    with pytest.raises(files.UnsafePathError):
        files.read(str(tmp_path / "short"), 4)


def deep(folder: Path, levels: int) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    for _unused in range(levels):
        os.mkdir("d", dir_fd=descriptor)
        below = os.open("d", os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
    os.close(descriptor)


def test_directories_six_thousand_deep(host: Host) -> None:
    deep(host.root / "srv/tao", 6000)
    try:
        # du runs with the lowest priority, and the machine may be busy
        assert host.status(disk_timeout_seconds=PATIENCE)["tao"]["disk"]["directory_bytes"] > 0
    finally:
        subprocess.run(["rm", "-r", host.root / "srv/tao"], check=True)


@pytest.mark.parametrize("begin", [b"", OK + b"X: ", OK + b"\r\n"])
def test_a_site_that_answers_in_drops(begin: bytes) -> None:
    server = socket.create_server(("127.0.0.1", 0))
    port = server.getsockname()[1]
    with serving(server, drops(begin)):
        began = time.monotonic()
        seen = ask(target(f"http://127.0.0.1:{port}/", "api"), "127.0.0.1", 0.5, validate=False)
        assert seen.kind == "timeout" and time.monotonic() - began < SOON


def test_a_connection_that_is_kept_has_a_new_deadline_for_each_call(tmp_path: Path) -> None:
    with engine(tmp_path / "docker.sock", answer({"a": 1})):
        api = EngineAPI(str(tmp_path / "docker.sock"), 0.5)
        assert api.call("GET", "/a") == {"a": 1}
        time.sleep(0.6)
        assert api.call("GET", "/a") == {"a": 1}


def test_an_engine_comes_back_after_a_failed_call(tmp_path: Path) -> None:
    api = EngineAPI(str(tmp_path / "docker.sock"), 0.5)
    with engine(tmp_path / "docker.sock", drops(OK)), pytest.raises(EngineError, match="timed out"):
        api.call("GET", "/a")
    (tmp_path / "docker.sock").unlink()
    with engine(tmp_path / "docker.sock", answer({"a": 1})):
        assert api.call("GET", "/a") == {"a": 1}


def test_a_program_with_a_deadline_a_limit_and_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    look = "import os; print(os.getsid(0) == os.getpid(), input()); os.open('/dev/tty', os.O_RDWR)"
    done = process.run([sys.executable, "-c", look], 10, data="in")
    assert done.output == "True in\n" and "No such device" in done.errors
    monkeypatch.setattr(programs, "LONGEST", 10**6)
    with pytest.raises(process.EndlessError, match="did not end within 1 s"):
        process.run(["sleep", "30"], 1)
    with pytest.raises(process.EndlessError, match="printed more than"):
        process.run(["yes"], 10)
    began = time.monotonic()
    assert process.run(["sh", "-c", "setsid sleep 30 & printf '\\033[2J\\033c' >&2; exit 3"], 10) == (
        process.Done(3, "", "?c")
    )
    assert time.monotonic() - began < SOON


def test_a_program_that_ignores_its_end_is_killed() -> None:
    program = f"import signal, time; signal.signal({int(signal.SIGTERM)}, signal.SIG_IGN); time.sleep(30)"
    with pytest.raises(process.EndlessError):
        process.run([sys.executable, "-c", program], 1)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_program_of_an_account_is_the_accounts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "x")
    assert "SECRET" not in process.run(["env"], 10, pwd.getpwnam("nobody")).output
    done = process.run(["sh", "-c", "id -u; id -G; echo $HOME; pwd"], 10, pwd.getpwnam("nobody"), {"A": "b"})
    assert done.output == "65534\n65534\n/nonexistent\n/\n"


@pytest.mark.parametrize("told", [*NONSENSE, [{"Id": "a"}], [{"Id": [], "Config": 1}]])
def test_an_image_with_arbitrary_values(told: Any) -> None:
    probe = image_probe.Engine("/s", "lab:1", None, lambda command, text: (0, json.dumps(told), ""))
    with pytest.raises(image_probe.ProbeError):
        probe.examine(None, keep=False)


@pytest.mark.parametrize("uid", [-1, "0", None, [], 1.5, True])
def test_invalid_ids_are_refused(uid: Any) -> None:
    answer = f"{image_probe.MARK}{json.dumps({'uid': uid, 'gid': 100, 'singleuser': False})}\n"
    about = json.dumps([{"Id": "a", "Config": {}}])
    probe = image_probe.Engine(
        "/s", "lab:1", None, lambda command, text: (0, answer if "run" in command else about, "")
    )
    with pytest.raises(image_probe.ProbeError, match="which are not numeric ids"):
        probe.examine(None, keep=False)


def test_clean_reaches_everything() -> None:
    assert printable.clean({"\x1b": ["\x9b", {"a": "b\nc"}], "n": 1, "x": None}) == {
        "?": ["?", {"a": "b\nc"}],
        "n": 1,
        "x": None,
    }
    assert len(printable.clean("x" * 10**6)) == printable.LONGEST
    assert printable.text("\x1b[1;31mred\x1b[0m\x1b\x1b[m[2J") == "red?[2J"
    assert printable.line("a\n\tb\x00\u200b") == "a b??"


def test_no_deadline_is_forgotten(tmp_path: Path) -> None:
    with (
        engine(tmp_path / "s", drops(b"")),
        sockets.connect(socket.AF_UNIX, str(tmp_path / "s"), 0.0) as connection,
        pytest.raises(TimeoutError),
    ):
        connection.recv_into(bytearray(1))
