# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module that takes a hub over, with containers and volumes of the real engine, and files of several owners."""

from __future__ import annotations

import json
import os
import secrets
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import module_runner
import pytest

from testbed.patience import until
from testbed.run import run

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root takes over")
# The account of the new engine, and records, for the module alone.
NAMESPACE = """
set -e
mount -t tmpfs tmpfs /mnt
mkdir /mnt/upper /mnt/work
mount -t overlay overlay -o lowerdir=/etc,upperdir=/mnt/upper,workdir=/mnt/work /etc
mkdir -p /etc/carrel
mount --bind "$1/carrel" /etc/carrel
echo "$2:x:64000:64001::/nonexistent:/bin/false" >> /etc/passwd
for kind in subuid subgid; do echo "$2:7000000:65536" >> /etc/$kind; done
shift 2
exec "$@"
"""
ADA, MANY = (7000999, 7000099), 4000


@dataclass
class World:
    folder: Path
    name: str = field(default_factory=lambda: f"takeover{secrets.token_hex(3)}")

    def volume(self, user: str) -> Path:
        return Path(run("docker", "volume", "inspect", "--format", "{{.Mountpoint}}", f"{self.name}-{user}").strip())

    @property
    def hub(self) -> dict[str, Any]:
        homes = [{"user": user, "source": str(self.volume(user))} for user in ("ada", "grace")]
        return {"hub": self.name, "container": self.name, "port": 8000, "homes": homes}

    def home(self, user: str) -> Path:
        return self.folder / "srv" / self.name / "data/users" / user / "home"

    @property
    def prefix(self) -> tuple[str, ...]:
        return ("unshare", "--mount", "sh", "-c", NAMESPACE, "sh", str(self.folder), self.name)

    def arguments(self, step: str, **more: Any) -> dict[str, Any]:
        return {"step": step, "hub": self.hub, "base_dir": f"{self.folder}/srv", **more}

    def step(self, step: str, check: bool = False, **more: Any) -> dict[str, Any]:
        return module_runner.run("hub_takeover", self.arguments(step, **more), check, self.prefix)

    def thrice(self, step: str, **more: Any) -> dict[str, Any]:
        """Check mode tells the truth, and the second run changes nothing."""
        check, real, again = (self.step(step, check, **more) for check in (True, False, False))
        assert [one.get("changed") for one in (check, real, again)] == [True, True, False], (check, real, again)
        return real

    def recorded(self) -> str:
        record = json.loads((self.folder / f"carrel/adopted/{self.name}/record.json").read_text())
        return str(record["state"])

    def state(self, container: str) -> list[str]:
        shown = "{{.State.Running}} {{.HostConfig.RestartPolicy.Name}}"
        return run("docker", "inspect", "--format", shown, container).split()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    world = World(tmp_path_factory.mktemp("takeover"))
    for folder in ("carrel", "srv"):
        (world.folder / folder).mkdir()
    image, server = os.environ["CARREL_TEST_LAB_IMAGE"], f"{world.name}-server"
    start = ("docker", "run", "--detach", "--network", "none", "--stop-signal", "KILL", "--entrypoint", "sleep")
    try:
        for user in ("ada", "grace"):
            run("docker", "volume", "create", f"{world.name}-{user}")
            fill(world.volume(user))
        run(*start, "--restart", "always", "--name", world.name, image, "3600")
        run(*start, "--name", server, "--volume", f"{world.name}-ada:/work", image, "3600")
        yield world
    finally:
        run("docker", "rm", "--force", world.name, server, check=False)
        run("docker", "volume", "rm", f"{world.name}-ada", f"{world.name}-grace", check=False)


def fill(volume: Path) -> None:
    (volume / "mine.txt").write_text("mine")
    (volume / "link").symlink_to("/etc/shadow")
    os.mkfifo(volume / "pipe")
    (volume / "many").mkdir()
    for number in range(MANY):
        (volume / f"many/{number}").write_bytes(b"x" * 3000)
    for path in (volume, *volume.rglob("*")):
        os.chown(path, 1000, 100, follow_symlinks=False)
    (volume / "roots").write_text("root's")


def owner(path: Path) -> tuple[int, int]:
    return path.lstat().st_uid, path.lstat().st_gid


def test_the_old_hub_ends_and_nothing_is_copied_before(world: World) -> None:
    refused = world.step("copy", user="ada")
    assert f"the old hub of {world.name} has not ended: run the whole playbook" in refused["msg"]
    check = world.step("end", check=True)
    assert check["files"] == 2 * (MANY + 3) and f"{world.volume('ada')}: pipe is no file" in str(check["warnings"])
    assert world.state(world.name) == ["true", "always"]
    world.thrice("end")
    assert world.state(world.name) == ["false", "no"] and world.state(f"{world.name}-server")[0] == "false"


def test_a_copy_that_was_killed_is_completed_by_the_next_one(world: World) -> None:
    copying = module_runner.start("hub_takeover", world.arguments("copy", user="grace"), False, world.prefix)
    many = world.home("grace") / "many"
    until(lambda: copying.poll() is not None or (many.exists() and len(os.listdir(many)) > 50), "files are copied")
    copying.send_signal(signal.SIGKILL)
    copying.wait()
    assert owner(world.home("grace")) == (0, 0)
    assert world.step("copy", user="grace")["changed"]
    assert owner(world.home("grace")) == ADA and len(os.listdir(many)) == MANY
    assert {owner(path) for path in many.iterdir()} == {ADA}


def test_each_person_gets_all_files_with_the_right_owners(world: World) -> None:
    done = world.thrice("copy", user="ada")
    home = world.home("ada")
    assert done["files"] == MANY + 3 and "not copied from" in str(done["warnings"])
    assert (home / "mine.txt").read_text() == "mine" and os.readlink(home / "link") == "/etc/shadow"
    assert owner(home) == owner(home / "mine.txt") == owner(home / "link") == ADA and owner(home / "roots")[0] == 64000
    assert home.stat().st_mode & 0o777 == 0o700 and not (home / "pipe").exists()
    assert owner(home.parent) == (0, 7000099) and home.parent.stat().st_mode & 0o777 == 0o751
    assert sorted(os.listdir(world.volume("ada"))) == ["link", "many", "mine.txt", "pipe", "roots"]
    assert world.recorded() == "taken"


def test_who_has_left_since_is_not_copied_again(world: World) -> None:
    world.home("grace").parent.rename(world.folder / "archived")
    assert not world.step("copy", user="grace")["changed"] and not world.home("grace").exists()


def test_a_home_that_is_there_stays_as_it_is(world: World) -> None:
    world.home("eve").mkdir(parents=True)
    (world.home("eve") / "mine.txt").write_text("eve's")
    eve = {"user": "eve", "source": str(world.volume("grace"))}
    more = {**world.hub, "homes": [*world.hub["homes"], eve]}
    refused = world.step("copy", user="eve", hub=more)
    assert "eve/home is there already, so nothing was copied: copy what is missing from" in refused["msg"]
    assert os.listdir(world.home("eve")) == ["mine.txt"] and world.recorded() == "taken"
    world.step("end", hub=more)
    assert world.recorded() == "taking"
    world.step("end")
    assert world.recorded() == "taken"


def test_the_way_back_brings_what_is_newer(world: World) -> None:
    for name in ("mine.txt", "later.txt"):
        path = world.home("ada") / name
        path.write_text("later")
        os.chown(path, *ADA)
    assert world.thrice("copy_back", user="ada")["files"] == 2
    volume = world.volume("ada")
    assert (volume / "mine.txt").read_text() == (volume / "later.txt").read_text() == "later"
    assert owner(volume / "later.txt") == owner(volume) == (1000, 100)
    gone = world.step("copy_back", user="grace")
    assert not gone["changed"] and "grace: nothing was copied back, because neither" in str(gone["warnings"])
    world.thrice("give_back")
    assert world.state(world.name) == ["true", "always"]
    assert "is there already: move it away" in world.step("end")["msg"]


def test_what_cannot_be_taken_over_keeps_running(world: World) -> None:
    (world.folder / "srv" / world.name).rename(world.folder / "moved")
    link = world.folder / "link"
    link.symlink_to("/etc")
    for change, words in (
        (
            {"homes": [{"user": "ada", "source": f"{world.folder}/gone"}]},
            "gone does not exist any more: take it",
        ),
        ({"homes": [{"user": "ada", "source": str(link)}]}, "links are not followed"),
        ({"container": f"{world.name}-gone"}, f"the old hub has no container {world.name}-gone any more"),
        ({"shared": ["/etc/cron.d/all"]}, "/etc/cron.d/all does more than what is taken over"),
        ({"account": "nobody-there"}, "there is no account nobody-there"),
    ):
        arguments = {**world.arguments("end"), "hub": {**world.hub, **change}}
        refused = module_runner.run("hub_takeover", arguments, prefix=world.prefix)
        assert words in refused.get("msg", ""), refused
    assert world.state(world.name) == ["true", "always"]
