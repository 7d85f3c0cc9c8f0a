# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps of a hub's takeover, with real files and records.

An engine of its own cannot be had here, so a server answers as Docker does, and knows which containers run. With the
real one: tests/integration/test_module_hub_takeover.py.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.carrel.jupyter.plugins.module_utils._adopt import takeover as decide
from ansible_collections.carrel.jupyter.plugins.module_utils._adopt.takeover_hub import Span
from ansible_collections.carrel.jupyter.plugins.module_utils._host import takeover_hub

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
    assert (world.recorded()["state"], world.recorded()["begun"]) == ("taken", [])
