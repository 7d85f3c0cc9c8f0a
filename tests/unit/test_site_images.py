# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What site.yml does with declared images, on this machine and in an engine that does not answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from plan_helpers import good, lab
from test_plan_action import HERE, ROOT, run

IMAGES = [
    {"name": "mapnik", "folder": "maps"},
    {"name": "statistics", "base": "debian:trixie-slim", "apt": ["gdal-bin"]},
]
STEPS = ("Build the declared images", "Report all that failed")


def site(folder: Path, running: bool, **more: Any) -> Path:
    """The steps of site.yml about images, with a plan and an engine's socket that nothing listens on."""
    instances = [
        lab(image={"declared": "statistics"}),
        lab(name="geo", url="https://geo.example.org", engine="tao", image={"declared": "mapnik"}),
        lab(name="one", url="https://one.example.org", engine="tao"),
    ]
    (folder / "maps").mkdir()
    (folder / "maps" / "Dockerfile").write_text("FROM scratch\n")
    play = next(play for play in yaml.safe_load((ROOT / "playbooks" / "site.yml").read_text()) if "serial" in play)
    build, report = (task for task in play["tasks"] if task["name"] in STEPS)
    assert build["block"][0]["block"][0]["ansible.builtin.import_role"]["tasks_from"] == "compare.yml"
    build["block"][-1]["ansible.builtin.include_tasks"]["file"] = str(ROOT / "playbooks" / "tasks" / "image.yml")
    left = {
        "ansible.builtin.debug": {
            "msg": "GO ON {{ __jupyter_bound.lab_instances | map(attribute='name') | join(' ') }}"
        }
    }
    variables: dict[str, Any] = {
        "__jupyter": {"plan": good(instances, images=IMAGES)},
        "__jupyter_host": {"engines": {"tao": {"running": running, "socket": str(folder / "docker.sock")}}},
        "jupyter_images": IMAGES,
        "image_directory": str(folder / "images"),
        **more,
    }
    playbook = folder / "images.yml"
    tasks = [build, {"name": "Go on", "tags": ["always"], **left}, report]
    playbook.write_text(
        json.dumps([{"hosts": "all", "gather_facts": False, "vars": {**play["vars"], **variables}, "tasks": tasks}])
    )
    return playbook


@pytest.mark.parametrize("arguments", [(), ("--tags", "hub_run")])
def test_instances_without_a_failed_image_are_set_up_and_the_run_fails(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    done = run(tmp_path, {"h1": HERE}, site(tmp_path, running=True), *arguments)
    printed = " ".join(done.stdout.split())
    assert done.returncode == 2, done.stdout + done.stderr
    assert "GO ON one" in printed
    assert "tao: unchanged, because there is no image statistics" in printed
    assert "geo: unchanged, because there is no image mapnik" in printed
    assert f"the engine at {tmp_path}/docker.sock does not answer" in printed
    # beside the inventory, wherever the playbook is
    assert list((tmp_path / "images").glob("*/*/Dockerfile"))


@pytest.mark.parametrize("wrong", [{"image_kernels": "python"}, {"image_pull_from": "nowhere"}])
def test_images_that_cannot_even_be_compared_fail_alone(tmp_path: Path, wrong: dict[str, Any]) -> None:
    done = run(tmp_path, {"h1": HERE}, site(tmp_path, running=True, **wrong))
    printed = " ".join(done.stdout.split())
    assert done.returncode == 2 and "GO ON one" in printed, done.stdout + done.stderr
    assert "tao: unchanged, because there is no image statistics" in printed
    assert "geo: unchanged, because there is no image mapnik" in printed


def test_check_mode_does_not_fail_before_the_engine_runs(tmp_path: Path) -> None:
    done = run(tmp_path, {"h1": HERE}, site(tmp_path, running=False), "--check")
    assert done.returncode == 0, done.stdout + done.stderr
    printed = " ".join(done.stdout.split())
    assert "the image statistics would be built in the engine tao, which does not run yet" in printed
    assert "GO ON tao geo one" in printed


def test_images_are_not_touched_without_their_tags(tmp_path: Path) -> None:
    done = run(tmp_path, {"h1": HERE}, site(tmp_path, running=True), "--tags", "apache_run")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "GO ON tao geo one" in done.stdout
