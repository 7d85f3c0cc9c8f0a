# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps of a hub's takeover, with real files and records.

An engine of its own cannot be had here, so a server answers as Docker does, and knows which containers run. With the
real one: tests/integration/test_module_hub_takeover.py.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import resource
import socketserver
import stat
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.carrel.jupyter.plugins.module_utils._adopt import takeover as decide
from ansible_collections.carrel.jupyter.plugins.module_utils._adopt.takeover_hub import Span
from ansible_collections.carrel.jupyter.plugins.module_utils._changes.tracker import Tracker
from ansible_collections.carrel.jupyter.plugins.module_utils._host import takeover_hub
from ansible_collections.carrel.jupyter.plugins.modules import hub_takeover

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root takes over")
NEW = Span(5000, 300000, 65536), Span(5001, 400000, 65536)
ADA = (300999, 400099)  # 1000:100 in a container


@dataclass
class World:
    folder: Path

    def volume(self, user: str) -> Path:
        return self.folder / "volumes" / user

    def home(self, user: str) -> Path:
        return self.folder / "srv/class/data/users" / user / "home"

    @property
    def job(self) -> Path:
        return self.folder / "cron.d/hub"

    @property
    def record(self) -> Path:
        return self.folder / "adopted/class/record.json"

    def one(self, account: str = "class", base: str = "srv") -> takeover_hub.HubTakeover:
        homes = [{"user": user, "source": str(self.volume(user))} for user in ("ada", "grace")]
        entry = {
            "hub": "class", "account": None, "container": "hub", "port": 8000, "homes": homes,
            "files": [str(self.job)], "shared": [],
        }  # fmt: skip
        return takeover_hub.HubTakeover(entry, f"{self.folder}/{base}", account)

    def recorded(self, **more: Any) -> dict[str, Any]:
        if more:
            self.record.parent.mkdir(parents=True, exist_ok=True)
            self.record.write_text(json.dumps({**self.recorded(), **more}))
        found: dict[str, Any] = json.loads(self.record.read_text()) if self.record.exists() else {}
        return found


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """Places for this test alone, and the ids of an account that nobody has made."""
    monkeypatch.setattr(decide, "_ASIDE", f"{tmp_path}/adopted")
    monkeypatch.setattr(decide, "_FOLDERS", (f"{tmp_path}/cron.d",))
    monkeypatch.setattr(takeover_hub, "_spans", lambda account: NEW)
    monkeypatch.setattr(takeover_hub, "ROOTFUL", f"{tmp_path}/docker.sock")
    world = World(tmp_path)
    for folder in (world.volume("ada"), world.volume("grace"), world.job.parent, tmp_path / "srv"):
        folder.mkdir(parents=True)
    world.job.write_text("@daily root docker start hub\n")
    for user in ("ada", "grace"):
        (world.volume(user) / "mine.txt").write_text(user)
        os.chown(world.volume(user), 1000, 100)
        os.chown(world.volume(user) / "mine.txt", 1000, 100)
    return world


@dataclass
class Engine:
    """The old hub and a server of ada's. STARTS says how often something starts the hub when it is stopped."""

    mounts: dict[str, list[dict[str, str]]]
    running: set[str]
    host: dict[str, Any] = field(default_factory=lambda: {"RestartPolicy": {"Name": "always", "MaximumRetryCount": 0}})
    stopped: list[str] = field(default_factory=list)
    updates: list[Any] = field(default_factory=list)
    starts: int = 0
    job: Path | None = None
    seen: list[bool] = field(default_factory=list)  # whether the job was there when something was stopped

    def answer(self, method: str, path: str, body: Any) -> Any:
        name, _slash, action = path.removeprefix("/containers/").partition("?")[0].partition("/")
        if path == "/containers/json":
            return [{"Id": one} for one in sorted(self.running)]
        if action == "json" and name in self.mounts:
            state = {"Running": name in self.running}
            return {
                "Id": name,
                "Name": f"/{name}",
                "State": state,
                "HostConfig": self.host,
                "Mounts": self.mounts[name],
            }
        if action == "stop":
            self.stopped.append(name)
            self.seen.append(self.job is not None and self.job.exists())
            self.running.discard(name)
            if name == "hub" and self.starts:
                self.starts -= 1
                self.running.add(name)
        elif action == "start":
            self.running.add(name)
        elif action == "update":
            self.updates.append(body["RestartPolicy"])
            self.host["RestartPolicy"] = body["RestartPolicy"]
        return None


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        self.client_address = ("local", 0)
        super().setup()

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        assert isinstance(self.server, Server)
        answer = self.server.engine.answer(self.command, self.path, body)
        text = b"" if answer is None else json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_POST = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True

    def __init__(self, path: str, engine: Engine) -> None:
        super().__init__(path, Handler)
        self.engine = engine


@pytest.fixture
def docker(world: World) -> Iterator[Engine]:
    engine = Engine(
        {"hub": [], "server": [{"Source": str(world.volume("ada"))}], "other": []}, {"hub", "server", "other"}
    )
    with Server(f"{world.folder}/docker.sock", engine) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield engine
        server.shutdown()


@contextlib.contextmanager
def no_long_files() -> Iterator[None]:
    """As on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def owner(path: Path) -> tuple[int, int]:
    return path.lstat().st_uid, path.lstat().st_gid


def half_copied(world: World) -> None:
    """Ada's files, until one is too long."""
    world.recorded(state="taking")
    (world.volume("ada") / "z-long").write_bytes(b"x" * (1 << 21))
    os.chown(world.volume("ada") / "z-long", 1000, 100)
    with no_long_files(), pytest.raises((OSError, takeover_hub.TakeoverError)):
        world.one().copy("ada")


def test_a_copy_that_failed_is_completed_also_after_others(world: World) -> None:
    half_copied(world)
    world.one().copy("grace")
    assert world.recorded()["state"] == "taking" and owner(world.home("ada")) == (0, 0)
    world.one().copy("ada")
    assert sorted(os.listdir(world.home("ada"))) == ["mine.txt", "z-long"]
    assert owner(world.home("ada")) == owner(world.home("grace")) == ADA
    assert (world.recorded()["state"], world.recorded()["begun"]) == ("taken", {})


def test_a_home_is_copied_anew_if_the_host_was_started_since(world: World) -> None:
    """After a power cut a file can have its name, size and time, and zeros inside."""
    half_copied(world)
    copied = world.home("ada") / "mine.txt"
    status = (world.volume("ada") / "mine.txt").stat()
    copied.write_bytes(bytes(status.st_size))
    os.utime(copied, ns=(status.st_atime_ns, status.st_mtime_ns))
    deep = os.open(world.home("ada"), os.O_RDONLY)
    for _unused in range(1100):  # deeper than Python's own function can remove
        os.mkdir("d", dir_fd=deep)
        below = os.open("d", os.O_RDONLY, dir_fd=deep)
        os.close(deep)
        deep = below
    os.close(deep)
    world.recorded(begun={"ada": "another start"})
    world.one().copy("ada")
    assert copied.read_text() == "ada" and owner(world.home("ada")) == ADA
    assert not (world.home("ada") / "d").exists()


def test_a_home_that_was_complete_before_the_host_was_started_stays(world: World) -> None:
    half_copied(world)
    later = world.home("ada") / "mine.txt"
    later.write_text("later")
    os.chown(world.home("ada"), *ADA)
    world.recorded(begun={"ada": "another start"})
    world.one().copy("ada")
    assert later.read_text() == "later" and world.recorded()["copied"] == ["ada"]


def end(world: World, check_mode: bool = False) -> bool:
    """Whether it changes something."""
    tracker = Tracker()
    hub_takeover.end(world.one(), check_mode, tracker)
    return tracker.changed


def test_no_job_can_start_the_hub_between_its_stop_and_the_end(world: World, docker: Engine) -> None:
    docker.job = world.job
    world.one().end()
    assert docker.stopped == ["hub", "server"] and docker.running == {"other"} and docker.seen == [False, False]
    assert (world.folder / f"adopted/class{world.job}").exists() and world.recorded()["state"] == "taking"
    assert world.recorded()["policy"] == {"Name": "always", "MaximumRetryCount": 0}
    assert docker.updates == [{"Name": "no"}]


def test_what_was_started_since_is_stopped_while_files_are_missing(world: World, docker: Engine) -> None:
    assert end(world) and not end(world)
    docker.running |= {"hub", "server"}
    assert end(world, check_mode=True) and docker.running == {"hub", "server", "other"}
    assert end(world) and docker.running == {"other"} and not end(world, check_mode=True) and not end(world)
    for user in ("ada", "grace"):
        world.one().copy(user)
    docker.running.add("hub")
    assert not end(world) and docker.running == {"hub", "other"}


def test_a_hub_that_does_not_stay_stopped_is_refused(world: World, docker: Engine) -> None:
    docker.starts = 1
    with pytest.raises(takeover_hub.TakeoverError, match="hub of the old hub was stopped, and runs again: find what"):
        world.one().end()
    assert world.recorded()["state"] == "ending"
    world.one().end()
    assert world.recorded()["state"] == "taking"


def test_a_container_that_would_be_gone_is_refused(world: World, docker: Engine) -> None:
    docker.host["AutoRemove"] = True
    for check_mode in (True, False):
        with pytest.raises(takeover_hub.TakeoverError, match="the container hub was started with --rm, and would be"):
            end(world, check_mode)
    assert not docker.stopped and world.job.exists() and not world.recorded()


def test_what_is_newer_comes_back_from_each_archive_since_the_takeover(world: World) -> None:
    world.recorded(state="taking", began="20260303T000000Z")
    for user in ("ada", "grace"):
        world.one().copy(user)
    archive = world.folder / "srv/.archive"
    for time, texts in (
        ("20260101T000000Z", {"before": "another hub's"}),
        ("20260404T000000Z", {"first": "1", "both": "1"}),
        ("20260505T000000Z", {"both": "2"}),
    ):
        home = archive / f"class-{time}/data/users/ada/home"
        home.mkdir(parents=True)
        for name, text in texts.items():
            (home / name).write_text(text)
            os.utime(home / name, (int(text[0]) if text.isdigit() else 9,) * 2)
        for path in (home, *home.iterdir()):
            os.chown(path, *ADA)
    (world.home("ada") / "mine.txt").write_text("later")
    os.chown(world.home("ada") / "mine.txt", *ADA)
    said = world.one().copy_back("ada", check_mode=True)
    done = world.one().copy_back("ada", check_mode=False)
    assert said.files == done.files == 4 and world.one().copy_back("ada", check_mode=False).files == 0
    old = {path.name: path.read_text() for path in world.volume("ada").iterdir()}
    assert old == {"first": "1", "both": "2", "mine.txt": "later"}
    world.home("grace").parent.rename(world.folder / "away")
    assert world.one().homes_since("grace") == [] and len(world.one().homes_since("ada")) == 3


def test_files_that_go_back_are_on_the_disk_before_they_have_their_names(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut cannot be had here: of a file without fsync(2), it could leave the name and the time alone."""
    world.recorded(state="taken", copied=["ada"], began="20300101T000000Z")
    (world.home("ada") / "deep").mkdir(parents=True)
    for name, text in (("mine.txt", "later"), ("new", "x" * 100_000), ("deep/empty", ""), ("deep/b", "b")):
        (world.home("ada") / name).write_text(text)
    (world.home("ada") / "link").symlink_to("mine.txt")
    for path in (world.home("ada"), *world.home("ada").rglob("*")):
        os.chown(path, *ADA, follow_symlinks=False)
    on_disk, named, synced = dict[int, tuple[int, int]](), [], []
    fsync, rename, sync = os.fsync, os.rename, takeover_hub._sync

    def kept(descriptor: int) -> None:
        fsync(descriptor)
        status = os.fstat(descriptor)
        on_disk[status.st_ino] = status.st_size, status.st_mtime_ns

    def renamed(old: str, new: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        status = os.stat(old, dir_fd=src_dir_fd, follow_symlinks=False)
        if not stat.S_ISLNK(status.st_mode):
            assert on_disk[status.st_ino] == (status.st_size, status.st_mtime_ns)
            named.append(new)
        rename(old, new, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    def all_synced(folder: int, shown: str) -> None:
        synced.append(shown)
        sync(folder, shown)

    monkeypatch.setattr(os, "fsync", kept)
    monkeypatch.setattr(os, "rename", renamed)
    monkeypatch.setattr(takeover_hub, "_sync", all_synced)
    assert world.one().copy_back("ada", check_mode=True).files == 5 and not named and not synced
    assert world.one().copy_back("ada", check_mode=False).files == 5
    assert sorted(named) == ["b", "empty", "mine.txt", "new"] and (world.volume("ada") / "link").is_symlink()
    # The first run may have been killed before the names were on the disk.
    assert world.one().copy_back("ada", check_mode=False).files == 0
    assert synced == [str(world.volume("ada"))] * 2


def test_another_base_or_engine_than_it_began_with_is_refused(world: World) -> None:
    world.recorded(state="taking", base=f"{world.folder}/srv")
    world.one().copy("ada")
    moved, other = world.one(base="data"), world.one(account="other")
    base = f"the takeover began with the jupyter_base_dir {world.folder}/srv, and now it is {world.folder}/data: write"
    with pytest.raises(takeover_hub.TakeoverError, match=base):
        hub_takeover.end(moved, True, Tracker())
    with pytest.raises(takeover_hub.TakeoverError, match=base):
        hub_takeover.copy(moved, "grace", False, Tracker())
    with pytest.raises(takeover_hub.TakeoverError, match="began with the engine class, and now it is other: write"):
        hub_takeover.copy(other, "grace", False, Tracker())
    assert not world.home("grace").exists()
    hub_takeover.copy(world.one(), "grace", False, Tracker())
    assert world.recorded()["state"] == "taken"
