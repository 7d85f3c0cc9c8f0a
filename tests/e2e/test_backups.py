# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Backups on real hosts: by hand, beside resets, tried by a drill, and restored while people look."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from testbed.hub_client import Hub

from .conftest import Play, Site, enter, run_on, until

RESET = ("carrel-reset", "class", "--no-pull", "--people", "ignore")
BACKUP = ("carrel-backup", "run", "class")


@pytest.fixture
def ada(hub: Site) -> Iterator[Hub]:
    with enter(hub, "ada") as session:
        yield session
        session.stop()


def runs(site: Site, what: str) -> bool:
    """Whether a reset or a backup has begun; before the first one there is no state."""
    file = f"/var/lib/carrel/{site.name}/{what}/state.json"
    return "running" in run_on(site.host, "grep", "--no-messages", '"result": "running"', file, check=False)


def start(site: Site, *command: str) -> subprocess.Popen[str]:
    """Run a command as root on the host, and do not wait for it."""
    return subprocess.Popen(["docker", "exec", site.host, *command], text=True, stdout=subprocess.PIPE, stderr=-2)


@contextmanager
def resetting(site: Site) -> Iterator[None]:
    """Hold what a reset holds, as its account."""
    holding = f"cd /var/lib/carrel/{site.name}/reset && exec flock lock sh -c 'echo held; cat'"
    command = [
        "docker",
        "exec",
        "--interactive",
        site.host,
        "su",
        site.name,
        "--shell",
        "/bin/sh",
        "--command",
        holding,
    ]
    with subprocess.Popen(command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdin and holder.stdout and holder.stdout.readline() == "held\n"
        yield
        holder.stdin.close()


def ends(process: subprocess.Popen[str]) -> None:
    output = process.communicate(timeout=300)[0]
    assert process.returncode == 0, output


def state(site: Site) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run_on(site.host, "cat", f"/var/lib/carrel/{site.name}/backup/state.json"))
    return found


def snapshots(site: Site) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(run_on(site.host, "carrel-backup", "snapshots", site.name, "--json"))
    return found


def test_a_file_of_a_lab_comes_back_beside_and_in_its_place(atlas: Site) -> None:
    with atlas.lab().login(atlas.secret) as lab:
        lab.put("map.txt", "of then")
        run_on(atlas.host, "carrel-backup", "run", "atlas")
        lab.put("map.txt", "spoilt")
        restore = ("carrel-backup", "restore", "atlas", "--path", "data/notebooks/map.txt")
        run_on(atlas.host, *restore, "--beside")
        folders = [each["name"] for each in lab.request("GET", "api/contents").json()["content"]]
        (beside,) = [name for name in folders if name.startswith("restored-")]
        assert lab.get(f"{beside}/map.txt") == "of then" and lab.get("map.txt") == "spoilt"
        run_on(atlas.host, *restore, "--overwrite")
        assert lab.get("map.txt") == "of then"
        lab.run(f"import shutil; open('map.txt', 'a').close(); shutil.rmtree('{beside}')")


def test_what_a_person_spoils_and_loses_comes_back(play: Play, hub: Site, ada: Hub) -> None:
    with ada.spawn() as lab:
        lab.put("thesis.txt", "years of work")
        lab.put("data.txt", "measured once")
        assert play(hub.host, playbook="playbooks/backup.yml").changed == 1
        lab.put("thesis.txt", "spoilt")
        run = play(
            hub.host, playbook="playbooks/restore.yml", jupyter_restore="class", jupyter_restore_user="ada",
            jupyter_restore_path="thesis.txt", jupyter_restore_overwrite=True,
        )  # fmt: skip
        assert run.code == 0
        assert lab.get("thesis.txt") == "years of work", "at a server that went on running"
        lab.run("import os; os.remove('data.txt'); os.remove('thesis.txt')")
    whole = ("carrel-backup", "restore", "class", "--user", "ada", "--overwrite", "--stop")
    with resetting(hub):
        restore = start(hub, "env", "CARREL_RESET_STEPS=1", *whole)
        assert restore.stdout
        assert any("wait: a reset of the instance is at work" in line for line in restore.stdout)
    ends(restore)
    with ada.spawn() as lab:
        assert lab.get("thesis.txt") == "years of work" and lab.get("data.txt") == "measured once"
        lab.put("thesis.txt", "it is hers")


def test_a_backup_and_a_reset_do_not_disturb_each_other(hub: Site) -> None:
    for first, second in ((RESET, BACKUP), (BACKUP, RESET)):
        one = start(hub, *first)
        what = first[0].removeprefix("carrel-")
        until(lambda one=one, what=what: runs(hub, what) or one.poll() is not None, f"{first[0]} has begun")
        ends(start(hub, *second))
        ends(one)
        assert state(hub)["backup"]["warnings"] == []


def test_a_drill_is_green_and_the_status_says_so(play: Play, hub: Site, tmp_path: Path) -> None:
    # it may choose a folder without a server otherwise
    one = {"jupyter_instances_only": "class", "jupyter_backup_user": "ada"}
    drill = play(hub.host, playbook="playbooks/backup.yml", jupyter_backup_drill=True, **one)
    assert drill.code == 0 and "accepted a log-in" in " ".join(drill.output.split()), drill.output
    assert state(hub)["drill"]["result"] == "done"
    listed = play(hub.host, playbook="playbooks/snapshots.yml")
    assert listed.code == 0 and snapshots(hub)[-1]["id"][:8] in listed.output
    page = tmp_path / "status.html"
    status = play(hub.host, playbook="playbooks/status.yml", jupyter_status_html=str(page))
    assert status.code == 0 and "class" in page.read_text() and ", drill " in page.read_text()
