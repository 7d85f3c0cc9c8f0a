# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The reset against an account and containers that mean harm: root's terminal, files, programs, servers, output."""

from __future__ import annotations

import datetime
import fcntl
import json
import os
import pty
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from carrel_reset import account, files, jobs, printable, programs, settings, web
from carrel_reset.engine import Engine, EngineError
from carrel_reset.journal import Journal
from carrel_reset.lab import at_work
from carrel_reset.servers import Unfinished
from carrel_reset.state import State

from testbed.patience import PATIENCE, SOON, until

PACKAGE = Path(account.__file__).parent
ONLY_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
# Root's part starts the same file as nobody, which then tries what an account could.
PROGRAM = """
import fcntl, json, os, signal, subprocess, sys, termios, time
sys.path.insert(0, {folder!r})
from carrel_reset import account, programs

def types(descriptor):
    try:
        fcntl.ioctl(descriptor, termios.TIOCSTI, b"x")
    except OSError:
        return False
    return True

def terminal():
    try:
        return os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
    except OSError:
        return None

if os.geteuid() == 0:
    account.SECONDS, programs.LOOK_SECONDS, account.LONGEST = 5, 0.1, 10_000
    sys.exit(account.run("nobody", sys.argv[1:]))
try:
    os.setuid(0)
except PermissionError:
    pass
descriptors = [int(name) for name in os.listdir("/proc/self/fd")]
action = sys.argv[1]
if action == "look":
    print(json.dumps({{
        "terminal": terminal(), "types": [number for number in descriptors if types(number)],
        "session": os.getsid(0) == os.getpid(), "ids": [os.getresuid(), os.getresgid(), os.getgroups()],
        "open": [os.readlink(path) for path in map("/proc/self/fd/{{}}".format, descriptors) if os.path.exists(path)],
        "environment": sorted(os.environ), "folder": os.getcwd(),
    }}))
    sys.exit(4)
if action == "shout":
    print("\\x1b]0;title\\x07\\x9b2J red", "é" * 20_000, flush=True)
if action == "leave":
    subprocess.Popen(["setsid", "sleep", "30"])
if action == "hang":
    with open(sys.argv[2], "w") as stream:
        stream.write(str(os.getpid()))
    time.sleep(30)
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """It and its package where nobody may read them."""
    # with pytest-xdist, one more folder lies between
    for folder in (tmp_path, *tmp_path.parents):
        if folder == Path(tempfile.gettempdir()):
            break
        folder.chmod(0o755)
    shutil.copytree(PACKAGE, tmp_path / "lib" / "carrel_reset")
    file = tmp_path / "program"
    file.write_text(PROGRAM.format(folder=str(tmp_path / "lib")))
    return file


def as_root(program: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "DOCKER_HOST": "x", "SECRET": "x"}
    with program.open() as inherited:
        os.set_inheritable(inherited.fileno(), True)
        return subprocess.run(
            [sys.executable, program, *arguments], env=environment, capture_output=True, text=True, timeout=PATIENCE,
            pass_fds=[inherited.fileno()], check=False,
        )  # fmt: skip


@ONLY_ROOT
def test_the_account_has_nothing_of_roots(program: Path) -> None:
    done = as_root(program, "look")
    assert done.returncode == 4, done
    seen = json.loads(done.stdout)
    assert seen["ids"] == [[65534] * 3, [65534] * 3, [65534]] and seen["session"] and seen["folder"] == "/"
    assert seen["environment"] in (
        account_environment := ["HOME", "LANG", "LOGNAME", "PATH", "USER"],
        [*account_environment, "LC_CTYPE"],
    )
    assert sorted(kind.partition(":")[0] for kind in seen["open"]) == ["/dev/null", "pipe", "pipe"]


@ONLY_ROOT
def test_the_account_cannot_type_into_roots_terminal(program: Path) -> None:
    """A real terminal, which is root's controlling one: where the kernel allows TIOCSTI, root could use it here."""
    child, terminal = pty.fork()
    if child == 0:
        os.execv(sys.executable, [sys.executable, str(program), "look"])
    said = b""
    try:
        while part := os.read(terminal, 4096):
            said += part
    except OSError:  # EIO: the other end is closed
        pass
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 4
    os.close(terminal)
    seen = json.loads(said)
    assert seen["terminal"] is None and seen["types"] == [] and seen["session"]
    assert not [path for path in seen["open"] if path.startswith("/dev/pts")]
    assert "CARREL_RESET_STEPS" in seen["environment"]


@ONLY_ROOT
def test_what_the_account_prints_is_cleaned_and_has_an_end(program: Path) -> None:
    done = as_root(program, "shout")
    assert (
        done.returncode == 0 and "\x1b" not in done.stdout and "\x9b" not in done.stdout and "\x07" not in done.stdout
    )
    assert done.stdout.startswith("?]0;title?") and "é" in done.stdout and len(done.stdout.encode()) <= 10_000


@ONLY_ROOT
def test_what_the_account_leaves_behind_is_not_waited_for(program: Path) -> None:
    began = time.monotonic()
    assert as_root(program, "leave").returncode == 0 and time.monotonic() - began < SOON


@ONLY_ROOT
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
def test_a_reset_ends_with_roots_program(program: Path, number: int) -> None:
    file = program.parent / "open" / "pid"
    file.parent.mkdir()
    file.parent.chmod(0o777)
    # A shell's jobs in the background begin with SIGINT ignored, those of nohup with SIGHUP; so do tests in them.
    root = subprocess.Popen(["env", "--default-signal=INT,HUP", sys.executable, program, "hang", str(file)])
    until(lambda: file.exists() and file.read_text(), "the reset runs", pause=0.05)
    root.send_signal(number)
    assert root.wait(PATIENCE) in (128 + number, -number)
    running = Path(f"/proc/{file.read_text()}/stat")
    until(lambda: not running.exists() or " Z " in running.read_text(), "the reset ends", pause=0.05)


@ONLY_ROOT
def test_a_reset_that_does_not_end_is_killed(program: Path) -> None:
    done = as_root(program, "hang", "/dev/null")
    assert "did not end within 5 s" in done.stderr


class Traps:
    """What an account can put in the place of a file."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "file"
        self.secret = folder / "secret"
        self.secret.write_text("{}")

    def set(self, kind: str) -> str:
        if kind == "pipe":
            os.mkfifo(self.file)
        elif kind == "endless":
            with self.file.open("wb") as stream:
                stream.truncate(200 * 10**9)
        elif kind == "link":
            self.file.symlink_to(self.secret)
        elif kind == "device":
            os.mknod(self.file, 0o600 | 0o20000, os.makedev(1, 5))  # /dev/zero
        elif kind == "directory":
            self.file.mkdir()
        elif kind == "socket":
            with socket.socket(socket.AF_UNIX) as bound:
                bound.bind(str(self.file))
        return str(self.file)


KINDS = ["pipe", "endless", "link", "directory", "socket", pytest.param("device", marks=ONLY_ROOT)]


@pytest.mark.parametrize("kind", KINDS)
def test_only_regular_files_of_limited_size_are_read(tmp_path: Path, kind: str) -> None:
    trap = Traps(tmp_path).set(kind)
    with pytest.raises(OSError, match="file"):
        files.read(trap)


@pytest.mark.parametrize("kind", KINDS)
def test_traps_in_the_places_of_the_resets_files(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    trap = Traps(tmp_path).set(kind)
    state = State(trap, "tao", "lab")
    assert state.trouble and "is written anew" in state.trouble
    assert Unfinished(trap).users == []
    if kind != "endless":
        with pytest.raises(OSError):
            files.open_to_write(trap, os.O_CREAT)
    (tmp_path / "file").rename(tmp_path / "tao.json")
    monkeypatch.setattr(settings, "FOLDER", str(tmp_path))
    with pytest.raises(jobs.SettingsError, match=r"tao\.json"):
        settings.load("tao")


def test_a_trap_beside_the_state(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "state.json.new")
    state = State(str(tmp_path / "state.json"), "tao", "lab")
    state.begin(None)
    assert state.trouble and "could not be written" in state.trouble


@pytest.mark.parametrize(
    "healthy",
    [
        [{}],
        [1],
        [{"image": "a", "id": "b", "until": "x"}],
        [{"image": [], "id": "b", "until": "2026-01-01T00:00:00+00:00"}],
    ],
)
def test_a_state_with_nonsense_is_replaced(tmp_path: Path, healthy: Any) -> None:
    file = tmp_path / "state.json"
    content = {"version": 1, "server": 1, "images": {}, "history": [], "healthy": healthy}
    file.write_text(json.dumps(content))
    state = State(str(file), "tao", "lab")
    assert state.trouble and state.content["healthy"] == []


def docker(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> Engine:
    (folder / "docker").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return Engine("/run/x.sock", "/srv/tao", ["/srv/tao/compose.yaml"])


def test_a_command_that_prints_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "LONGEST", 10**6)
    engine = docker(tmp_path, "yes", monkeypatch)
    with pytest.raises(EngineError, match="printed more than 1000000 bytes and was killed"):
        engine.docker("exec", "x")
    engine = docker(tmp_path, "yes >&2", monkeypatch)
    with pytest.raises(EngineError, match="printed more than"):
        engine.docker("exec", "x")


def test_a_command_that_leaves_a_program_with_its_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = docker(tmp_path, "setsid sleep 30 & echo done", monkeypatch)
    began = time.monotonic()
    assert engine.docker("ps") == "done\n" and time.monotonic() - began < SOON


def test_a_command_that_does_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert docker(tmp_path, "true", monkeypatch).docker("exec", text="x" * 10**6) == ""


def test_a_program_that_ignores_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    stubborn = [sys.executable, "-c", "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(30)"]
    started = subprocess.Popen(stubborn, stdout=subprocess.PIPE, start_new_session=True)
    with pytest.raises(programs.EndlessError, match="did not end within 1 s"):
        programs.follow(started, 1, lambda stream, part: None)
    assert started.returncode == -signal.SIGKILL


@pytest.mark.parametrize(
    "begin", [b"", b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"]
)
def test_a_server_that_answers_in_drops(begin: bytes) -> None:
    """Before its status, in its headers, and in its body, without end."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            connection, _unused = server.accept()
            with connection:
                try:
                    connection.sendall(begin)
                    while True:
                        connection.sendall(b"1" if b"chunked" not in begin else b"1\r\nx\r\n")
                        time.sleep(0.05)
                except OSError:
                    pass

        threading.Thread(target=drip, daemon=True).start()
        began = time.monotonic()
        with pytest.raises(OSError):
            web.get(f"http://127.0.0.1:{server.getsockname()[1]}/", 0.5)
        assert time.monotonic() - began < SOON


ESCAPES = ["\x1b[2J", "\x9b31m", "\x1b]0;x\x07", "a\rb", "\u202egnp", "\x00", "\x08"]


@pytest.mark.parametrize("text", ESCAPES)
def test_no_escape_sequence_is_printed_or_written(tmp_path: Path, text: str, capsys: Any) -> None:
    bad = [char for char in text if not char.isprintable()]
    Journal("tao").warning("stop", text)
    state = State(str(tmp_path / "state.json"), "tao", "lab")
    state.begin(None)
    state.warn(text)
    state.step("stop", text)
    state.finish("failed", text, 1)
    written = json.loads((tmp_path / "state.json").read_text())
    everything = capsys.readouterr().err + str([written["message"], written["warnings"], written["history"]])
    assert not [char for char in bad if char in everything or repr(char)[1:-1] in everything]


def test_a_commands_last_lines_are_cleaned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EngineError) as failed:
        docker(tmp_path, r"printf '\033[2J\033cboom'; exit 1", monkeypatch).docker("up")
    assert str(failed.value).endswith("?cboom")


def test_lines_and_letters_stay() -> None:
    assert printable.text("Grüße\n\t你好") == "Grüße\n\t你好"


NO_TIMES = ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "9999-12-31T23:59:59-23:59"]


@pytest.mark.parametrize("last_activity", [*NO_TIMES, None, "", "yesterday", 7, [], {}])
def test_a_terminal_whose_last_use_is_not_known_may_be_in_use(last_activity: Any) -> None:
    now = datetime.datetime.now(datetime.timezone.utc)
    activity = {"kernels": [], "terminals": [{"name": "1", "last_activity": last_activity}]}
    assert at_work(activity, now) == ["terminal 1 may be in use"]
    old = {"kernels": [], "terminals": [{"name": "1", "last_activity": "2020-01-01T00:00:00"}]}
    assert at_work(old, now) == []


def test_a_pipe_as_the_lock(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    os.mkfifo(lock)
    with pytest.raises(OSError, match="not a regular file"):
        files.open_to_write(str(lock), os.O_CREAT)
    lock.unlink()
    descriptor = files.open_to_write(str(lock), os.O_CREAT)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(descriptor)
