# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""An old setup is taken over and given back: real files; there is no systemd here, so a stand-in answers for it.

tests/adopt does it with a real engine.
"""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.carrel.jupyter.plugins.module_utils._adopt import takeover as decide
from ansible_collections.carrel.jupyter.plugins.module_utils._host import takeover
from ansible_collections.carrel.jupyter.plugins.module_utils._host.process import Done
from ansible_collections.carrel.jupyter.plugins.modules import instance_takeover

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives directories to others")
UID = 54999
ARCHIVE = "tao-lab-20300101T000000Z"


class World:
    """A host below a folder, with an account that is adopted."""

    def __init__(self, root: Path, patch: pytest.MonkeyPatch) -> None:
        self.root, self.base, self.home, self.did = root, root / "srv", root / "srv" / "tao", list[str]()
        self.notebooks, self.target = self.home / "notebooks", self.base / "tao-lab/data/notebooks"
        self.job, self.aside = root / "cron.daily" / "reset", root / "aside" / "tao"
        self.kept = Path(f"{self.aside}{self.job}")
        self.engine, self.active, self.failing = root / "engines" / "tao", set[str](), ""
        for folder in (self.notebooks, self.job.parent, self.engine.parent, root / "records"):
            folder.mkdir(parents=True)
        for folder in (self.home, self.notebooks):
            os.chown(folder, UID, UID)
        (self.notebooks / "mine.txt").write_text("mine")
        self.job.write_text("docker compose up")
        account = pwd.struct_passwd(("tao", "x", UID, UID, "", str(self.home), "/bin/sh"))
        patch.setattr(pwd, "getpwnam", {"tao": account}.__getitem__)
        patch.setattr(decide, "_ASIDE", f"{root}/aside")
        patch.setattr(decide, "_FOLDERS", (str(self.job.parent), "/etc/nginx/conf.d"))
        patch.setattr(takeover, "RECORDS", str(root / "records"))
        patch.setattr(takeover, "config_path", lambda name: f"{root}/engines/{name}/daemon.json")
        patch.setattr(takeover, "run", self.run)
        patch.setattr(takeover.Account, "info", lambda account: None)
        patch.setattr(takeover.Account, "manager_runs", True)
        patch.setattr(takeover.Account, "systemctl", lambda account, *words, timeout: self.run(words, timeout))
        self.instance = {
            "name": "tao-lab", "notebooks": str(self.notebooks), "port": 9288, "container": "lab", "running": True,
        }  # fmt: skip
        self.entry: dict[str, Any] = {
            "account": "tao", "unit": "docker.service", "instances": [self.instance], "files": [str(self.job)],
            "shared": [],
        }  # fmt: skip

    def run(self, words: Any, seconds: float, *more: Any) -> Done:
        command = " ".join(words)
        if "is-active" in command:
            return Done(0 if words[-1] in self.active else 1, "", "")
        self.did.append(command)
        return Done(1, "", "no bus\n") if self.failing and self.failing in command else Done(0, "", "")

    def one(self) -> takeover.Takeover:
        return takeover.Takeover(self.entry, str(self.base))

    def archived(self) -> None:
        """What the site playbook does with state: absent."""
        (self.base / ".archive").mkdir()
        (self.base / "tao-lab").rename(self.base / ".archive" / ARCHIVE)

    def tree(self) -> list[str]:
        return sorted(str(path) for path in self.root.rglob("*"))

    def problem(self, back: bool = False) -> str:
        """Why it is refused; nothing is done then."""
        before = self.tree()
        with pytest.raises((takeover.TakeoverError, takeover.files.UnsafePathError)) as error:
            self.one().check_back() if back else self.one().check()
        assert self.tree() == before
        return str(error.value)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path, monkeypatch)


def test_notebooks_go_over_and_come_back(world: World) -> None:
    one = world.one()
    one.check()
    one.take()
    assert (world.target / "mine.txt").read_text() == "mine" and world.target.stat().st_uid == UID
    for parent in (world.target.parent, world.target.parent.parent):
        assert parent.stat().st_uid == 0 and parent.stat().st_mode & 0o777 == 0o711
    assert not world.job.exists() and not world.notebooks.exists() and world.kept.exists()
    assert world.engine.is_dir() and "disable --now docker.service" in world.did
    assert Path(world.one().record_path).stat().st_mode & 0o777 == 0o600
    assert world.one().state == "taken"

    world.archived()
    (world.base / ".archive" / ARCHIVE / "data/notebooks/later.txt").write_text("later")
    back = world.one()
    back.check_back()
    back.give_back()
    assert sorted(path.name for path in world.notebooks.iterdir()) == ["later.txt", "mine.txt"]
    assert world.job.exists() and not world.engine.exists() and world.one().state is None
    assert world.did[-2:] == ["enable --now docker.service", "docker start lab"]


def test_a_volume_of_the_engine_goes_over_and_comes_back(world: World) -> None:
    """Only its content moves, so the old engine has the volume again afterwards."""
    volume = world.home / ".local/share/docker/volumes/jupyterlab_notebooks"
    volume.mkdir(parents=True)
    world.notebooks.rename(volume / "_data")
    world.instance["notebooks"] = f"{volume}/_data"
    for folder in (world.home, *world.home.rglob("*")):
        os.chown(folder, UID, UID)
    world.one().check()
    world.one().take()
    assert (world.target / "mine.txt").read_text() == "mine" and not [*volume.iterdir()]
    world.archived()
    world.one().check_back()
    world.one().give_back()
    assert (volume / "_data/mine.txt").read_text() == "mine"


def test_what_the_site_playbook_has_never_seen_comes_back_too(world: World) -> None:
    world.one().take()
    world.instance["running"] = False  # the record says what was
    back = world.one()
    back.check_back()
    back.give_back()
    assert (world.notebooks / "mine.txt").exists() and not (world.base / "tao-lab").exists()
    assert "docker start lab" in world.did
    world.one().check()


class Killed(BaseException):
    pass


STEPS = ["_systemctl", "rename", "_reload_apache", "_write"]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("after", [False, True])
def test_what_was_killed_is_completed(world: World, monkeypatch: pytest.MonkeyPatch, step: str, after: bool) -> None:
    """Killed before or after each step, on both ways."""
    where: Any = takeover if step == "rename" else takeover.Takeover
    real = getattr(where, step)

    def kill(way: str) -> None:
        for times in range(4):
            count = 0

            def killed(*given: Any, at: int = times) -> Any:
                nonlocal count
                count += 1
                if count == at + 1 and not after:
                    raise Killed
                real(*given)
                if count == at + 1:
                    raise Killed

            one = world.one()
            if one.state == ("taken" if way == "take" else None):
                return
            with monkeypatch.context() as patch:
                patch.setattr(where, step, killed)
                try:
                    one.check() if way == "take" else one.check_back()
                    getattr(one, way)()
                except Killed:
                    pass
                if count <= times:
                    return

    kill("take")
    assert world.one().state == "taken"
    assert (world.target / "mine.txt").exists() and not world.job.exists() and world.engine.is_dir()
    world.archived()
    kill("give_back")
    assert world.one().state is None
    assert (world.notebooks / "mine.txt").exists() and world.job.exists() and not world.engine.exists()


def test_what_cannot_be_taken_over_stays_as_it_is(world: World) -> None:
    world.engine.mkdir()
    assert "tao has an engine of the collection: remove its entry from jupyter_adopted" in world.problem()
    world.engine.rmdir()
    (world.base / "tao-lab").mkdir()
    assert "tao-lab is there already: move it away" in world.problem()
    (world.base / "tao-lab").rmdir()
    os.chown(world.notebooks, 0, 0)
    assert "belongs to 0:0 and not to tao or its containers: run carrel.jupyter.adopt again" in world.problem()
    os.chown(world.notebooks, UID, UID)
    world.instance["notebooks"] = f"{world.home}/gone"
    assert "gone does not exist any more: run carrel.jupyter.adopt again" in world.problem()
    world.instance["notebooks"] = f"{world.home}/link"
    (world.home / "link").symlink_to("/etc")
    assert "links are not followed" in world.problem()
    world.entry["account"] = "grace"
    with pytest.raises(takeover.TakeoverError, match="there is no account grace: remove its entry"):
        world.one()
    assert world.did == []


def test_jobs_and_sites_that_cannot_be_put_aside(world: World) -> None:
    world.job.unlink()
    assert "reset does not exist any more: remove it from `files`" in world.problem()
    for path in ("/etc/passwd", f"{world.job.parent}/../passwd", f"{world.job.parent}/.."):
        world.entry["files"] = [path]
        assert f"{path} is in none of {world.job.parent}, " in world.problem()
    world.entry["files"], world.active = ["/etc/nginx/conf.d/tao.conf"], {"nginx"}
    there = dict.fromkeys(world.entry["files"], True)
    assert "and stop it: systemctl disable --now nginx" in (decide.file_problem(world.entry, there, True) or "")
    assert decide.file_problem(world.entry, there, False) is None
    world.entry["shared"] = ["/etc/cron.d/all"]
    assert "/etc/cron.d/all does more than what is taken over, or is of others: take its part out" in world.problem()


def test_folders_that_cannot_be_moved_alone(world: World) -> None:
    other = {**world.instance, "name": "geo-lab"}
    world.entry["instances"] = [world.instance, other]
    words = "is also that of geo-lab, or one lies in the other: give each a folder of its own, or make one of them"
    assert f"tao-lab: its notebooks' folder {world.notebooks} {words}" in world.problem()
    (world.notebooks / "geo").mkdir()
    os.chown(world.notebooks / "geo", UID, UID)
    other["notebooks"] = f"{world.notebooks}/geo"
    assert words in world.problem()
    world.entry["instances"] = [world.instance]
    world.instance["stays"] = [f"{world.notebooks}/geo"]
    words = f"is or contains {world.notebooks}/geo, which must stay where it is: mount a folder of its own, and run"
    assert words in world.problem()
    world.instance.update(notebooks=str(world.home), stays=[])
    assert f"is or contains {world.home}, which must stay where it is" in world.problem()
    assert world.did == []


MOUNTED = """
mount -t tmpfs tmpfs "$1"
chown {uid}:{uid} "$1"
exec "$2" -c 'import os, sys
from ansible_collections.carrel.jupyter.plugins.module_utils._host import takeover
print(takeover.mount_id(os.open(sys.argv[1], 0)) == takeover.mount_id(os.open(os.path.dirname(sys.argv[1]), 0)))' "$1"
"""


def test_another_mount_is_refused(world: World) -> None:
    command = ["unshare", "--mount", "sh", "-ec", MOUNTED.format(uid=UID), "sh", str(world.notebooks), sys.executable]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "False\n"
    world.base = Path("/proc/none")
    assert "is on another mount than /proc/none, and nothing is copied here: set jupyter_base_dir" in world.problem()


def test_a_disk_mounted_in_the_notebooks_is_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would move along, and be at its old place again after the next boot."""
    mounts = world.root / "mountinfo"
    mounts.write_text(f"1 2 8:17 / {world.notebooks}/big\\040data rw - ext4 /dev/sdb1 rw\n")
    monkeypatch.setattr(takeover, "MOUNTS", mounts)
    assert f"{world.notebooks}/big data is mounted in {world.notebooks}" in world.problem()


def test_an_engine_that_does_not_stop_keeps_its_notebooks(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(takeover, "SECONDS", 0)
    monkeypatch.setattr(takeover.Account, "info", lambda account: {})
    with pytest.raises(takeover.TakeoverError, match=r"tao still runs, though its unit docker\.service was stopped"):
        world.one().take()
    world.failing = "disable"
    words = r"tao: systemctl --user disable --now docker\.service failed: no bus; see to that, and run this again"
    with pytest.raises(takeover.TakeoverError, match=words):
        world.one().take()
    assert (world.notebooks / "mine.txt").exists() and world.job.exists()


def test_a_stopped_manager_is_started_and_a_running_apache_reloaded(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(takeover.Account, "manager_runs", False)
    monkeypatch.setattr(takeover.Takeover, "moves", {})
    world.entry["files"], world.active = ["/etc/apache2/sites-enabled/tao.conf"], {"apache2"}
    world.one().take()
    assert world.did == [
        f"systemctl start user@{UID}.service", "disable --now docker.service", "systemctl reload apache2",
    ]  # fmt: skip


def test_what_cannot_be_given_back_says_what_to_do(world: World) -> None:
    world.one().take()
    record = world.root / "records" / "geo" / "instance.json"
    record.parent.mkdir()
    record.write_text(json.dumps({"engine": "tao"}))
    assert "the engine of tao still has geo: write state: absent into each, run" in world.problem(back=True)
    record.write_text(json.dumps({"engine": "geo"}))
    world.archived()
    world.notebooks.mkdir()
    assert "notebooks is there again, and would be replaced: move it away" in world.problem(back=True)
    world.notebooks.rmdir()
    (world.base / ".archive").rename(world.base / ".gone")
    assert "notebooks cannot be given back, because it is neither at" in world.problem(back=True)
    (world.base / ".gone").rename(world.base / ".archive")
    world.failing = "docker start"
    with pytest.raises(takeover.TakeoverError, match="tao: docker start lab failed: no bus"):
        world.one().give_back()
    assert "tao is being given back: complete that first, with -e jupyter_takeover_back=true" in world.problem()


def test_which_of_several_archives_comes_back_is_said_by_the_administrator(world: World) -> None:
    archive = world.base / ".archive"
    for name in ("tao-lab-20200101T000000Z", "tao-lab-20300102T000000Z"):
        (archive / name / "data/notebooks").mkdir(parents=True)
    world.one().take()
    (world.base / "tao-lab").rename(archive / ARCHIVE)
    later = archive / "tao-lab-20300102T000000Z/data/notebooks"
    words = f"several archives have notebooks: {archive / ARCHIVE}/data/notebooks, {later}. Look which is the right one"
    assert words in world.problem(back=True)
    world.target.parent.mkdir(parents=True)
    (archive / ARCHIVE / "data/notebooks").rename(world.target)
    world.one().check_back()
    world.one().give_back()
    assert (world.notebooks / "mine.txt").exists() and later.exists()


def test_an_archive_of_before_the_takeover_is_another_lab_s(world: World) -> None:
    older = world.base / ".archive/tao-lab-20200101T000000Z/data/notebooks"
    older.mkdir(parents=True)
    world.one().take()
    (world.base / "tao-lab").rename(world.root / "gone")
    assert "cannot be given back, because it is neither at" in world.problem(back=True)
    (world.root / "gone").rename(world.base / ".archive" / ARCHIVE)
    world.one().check_back()
    world.one().give_back()
    assert (world.notebooks / "mine.txt").exists() and older.exists()


@pytest.fixture
def module(world: World, capsys: pytest.CaptureFixture[str]) -> Callable[..., dict[str, Any]]:
    """The module in this process, where the stand-ins are."""

    def run(check: bool = False, **more: Any) -> dict[str, Any]:
        arguments = {"takeovers": [world.entry], "base_dir": str(world.base), **more}
        with patch_module_args({**arguments, "_ansible_check_mode": check}), pytest.raises(SystemExit):
            instance_takeover.main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        return result

    return run


def test_check_mode_tells_both_ways_and_changes_nothing(world: World, module: Callable[..., dict[str, Any]]) -> None:
    before = world.tree()
    (diff,) = module(check=True)["diff"]
    assert f"{world.notebooks}\n" in diff["before"] and f"{world.target}\n{world.kept}\n" in diff["after"]
    assert "engine: docker.service\n" in diff["before"] and world.tree() == before
    assert not module(state="returned")["changed"]
    assert module()["accounts"] == ["tao"] and not module()["changed"]
    before = world.tree()
    (back,) = module(check=True, state="returned")["diff"]
    assert (back["before"], back["after"]) == (diff["after"], diff["before"]) and world.tree() == before
    assert module(state="returned")["changed"]
    os.chown(world.notebooks, 0, 0)
    assert "belongs to 0:0" in module()["msg"]


def test_nobody_but_root_takes_over(module: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert "only root can take over what accounts have set up: run it with become: true" in module()["msg"]
