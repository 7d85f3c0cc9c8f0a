# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The play of docs/howto/images.md that builds images once for many hosts, up to where it needs an engine."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from test_plan_action import HERE, run

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "howto" / "images.md").read_text()
EXAMPLE = ROOT / "inventories" / "example" / "group_vars" / "all" / "jupyter.yml"


def test_it_takes_the_images_of_the_site_as_they_are(tmp_path: Path) -> None:
    """With notebooks, nulls, and a folder that is beside the inventory, not beside the play."""
    (declared,) = re.findall(r"```yaml\n(jupyter_images:.*?)```", PAGE, re.DOTALL)
    images = yaml.safe_load(declared)["jupyter_images"] + yaml.safe_load(EXAMPLE.read_text())["jupyter_images"]
    images = [{**image, "push": None, "smoke": ["files/notebooks/check.ipynb"]} for image in images]
    names = {image["name"]: image for image in images}
    folder = tmp_path / names["mapnik"]["folder"]
    folder.mkdir(parents=True)
    (folder / "Dockerfile").write_text("FROM scratch\n")
    (tmp_path / "group_vars").mkdir()
    (tmp_path / "group_vars" / "all.yml").write_text(yaml.safe_dump({"jupyter_images": list(names.values())}))

    (text,) = re.findall(r"```yaml\n(- hosts: build\n.*?)- import_playbook", PAGE, re.DOTALL)
    (play,) = yaml.safe_load(text)
    inputs = play["roles"][0]["vars"]
    inputs["image_socket"] = f"{tmp_path}/docker.sock"
    compare: dict[str, Any] = {
        "ansible.builtin.import_role": {"name": "carrel.jupyter.image", "tasks_from": "compare.yml"},
        "vars": {
            **inputs,
            "__image_jobs": [{"engine": "here", "images": list(names)}],
            "__image_host": {"engines": {"here": {"running": False, "socket": inputs["image_socket"]}}},
        },
    }
    playbook = tmp_path / "plays" / "build.yml"
    playbook.parent.mkdir()
    playbook.write_text(yaml.safe_dump([{**play, "gather_facts": False, "pre_tasks": [compare]}]))
    done = run(tmp_path, {"build": HERE}, playbook, "--check")
    assert "(item=mapnik)" in done.stdout
    errors = re.findall(r"^\[ERROR\]: .*", done.stdout + done.stderr, re.MULTILINE)
    assert len(errors) == 1 and f"the engine at {tmp_path}/docker.sock does not answer" in errors[0], errors


@pytest.mark.parametrize(
    ("options", "built", "said"),
    [
        (["--check"], ["statistics"], "statistics would be pulled once builder has pushed it"),
        ([], ["statistics"], "builder has not pushed statistics: run the role on it first"),
        (["--check"], ["geo"], "builder has not pushed statistics: run the role on it first"),
        (["--check"], [], "builder has not pushed statistics: run the role on it first"),
    ],
)
def test_an_image_that_another_host_has_yet_to_push(
    tmp_path: Path, options: list[str], built: list[str], said: str
) -> None:
    results = {name: {"name": name, "image": f"{name}:1", "image_id": None, "digest": None} for name in built}
    variables = {
        "image_socket": "/nowhere", "image_pull_from": "builder", "image_builds": [{"name": "statistics"}],
        "__image_sockets": {"paths": {"/nowhere": "/nowhere"}},
    }  # fmt: skip
    pull = {
        "ansible.builtin.import_role": {"name": "carrel.jupyter.image", "tasks_from": "pull.yml"},
        "vars": variables,
    }
    show = {"ansible.builtin.debug": {"msg": "RESULT {{ image_results | to_json }}"}}
    playbook = tmp_path / "pull.yml"
    playbook.write_text(json.dumps([{"hosts": "other", "gather_facts": False, "tasks": [pull, show]}]))
    done = run(tmp_path, {"builder": {**HERE, "image_results": results}, "other": HERE}, playbook, *options)
    printed = " ".join(done.stdout.split())
    assert said in printed, done.stdout + done.stderr
    fails = "has not pushed" in said
    assert done.returncode == (2 if fails else 0) and ("RESULT" in printed) is not fails
    assert fails or "changed=1" in printed
