# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The throwaway servers of a hub's smoke notebooks; a real one is in tests/integration/test_reset_hub.py."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.carrel.jupyter.plugins.module_utils._changes.tracker import Tracker
from ansible_collections.carrel.jupyter.plugins.module_utils._host.install import Installation
from ansible_collections.carrel.jupyter.plugins.module_utils._site import hub_smoke
from test_hub_project import ENGINE, IMAGE, ROOT, instance

CELLS = [{"number": 1, "source": "1", "raises": False}]
NOTEBOOKS = [
    {"name": "maps.ipynb", "kernel": "ir", "cells": CELLS, "images": [1]},
    {"name": "check.ipynb", "kernel": None, "cells": CELLS, "images": [0, 1]},
]
IMAGES = [{"title": "a", "image": "a:1"}, {"title": "b", "image": "b:$1"}]
FACTS = [{**IMAGE, "image_id": "sha256:a"}, {**IMAGE, "image_id": "sha256:b", "python": "/opt/python"}]
OWNER = {"uid": 1000, "gid": 100}


def hub(**changes: Any) -> dict[str, Any]:
    return instance(**{"images": IMAGES, "smoke": NOTEBOOKS, "smoke_timeout_seconds": 300, **changes})


def project(**changes: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    wanted = hub_smoke.files(hub(**changes), ENGINE, OWNER, FACTS, {"trial.py": "print()"})
    return wanted, json.loads(wanted["secret_contents"]["/srv/class101/smoke/compose.yaml"])


def test_each_image_runs_its_notebooks() -> None:
    wanted, made = project()
    content = {file["path"].rpartition("/")[2]: file.get("content") for file in wanted["files"]}
    wanted_by = {name: json.loads(content[f"{name}.json"]) for name in made["services"]}
    ran = {name: [each["name"] for each in about["notebooks"]] for name, about in wanted_by.items()}
    assert ran == {"image-1": ["check.ipynb"], "image-2": ["maps.ipynb", "check.ipynb"]}
    assert (wanted_by["image-1"]["seconds"], wanted_by["image-1"]["start_seconds"]) == (300, 120)
    assert made["services"]["image-2"]["image"] == "b:$$1"
    assert made["services"]["image-2"]["labels"]["carrel.python"] == "/opt/python"


def test_the_server_is_as_peoples_are_but_alone_and_empty() -> None:
    _wanted, made = project(
        environment={"A": "secret $"}, limits={"memory": 2**30, "pids": 100}, server_settings={"ServerApp": {"port": 1}}
    )
    server = made["services"]["image-1"]
    assert server["environment"]["A"] == "secret $$" and server["command"] == ["jupyterhub-singleuser"]
    assert (server["mem_limit"], server["pids_limit"]) == (2**30, 100)
    assert server["cap_drop"] == ["ALL"] and server["security_opt"] == ["no-new-privileges:true"]
    assert server["network_mode"] == "none" and server["restart"] == "no"
    owned = "uid=1000,gid=100,mode=0700,exec"
    assert server["tmpfs"] == [f"/home/jovyan/work:{owned}", f"/home/jovyan/.jupyter/lab:{owned}"]
    sources = {volume["source"]: volume["read_only"] for volume in server["volumes"]}
    assert sources == {"/srv/class101/smoke": True, "/srv/class101/smoke/server_settings.json": True}
    assert server["environment"]["JUPYTER_CONFIG_PATH"] == "/etc/carrel"


def test_only_the_engines_account_reads_the_environment() -> None:
    wanted, _made = project()
    (file,) = (file for file in wanted["files"] if file["path"].endswith("compose.yaml"))
    assert (file["mode"], file["group"]) == ("0640", ENGINE["gid"]) and "content" not in file


def test_without_notebooks_there_is_no_project() -> None:
    wanted = hub_smoke.files(hub(smoke=[]), ENGINE, OWNER, FACTS, {"trial.py": ""})
    absent = wanted.pop("absent")
    assert wanted == {"directories": [], "files": [], "secret_contents": {}}
    assert "/srv/class101/smoke/compose.yaml" in absent


def test_nothing_stays_of_notebooks_that_are_not_declared_any_more(tmp_path: Path) -> None:
    def left(**changes: Any) -> set[str]:
        options = hub_smoke.files(
            hub(directory=str(tmp_path), **changes), {**ENGINE, "gid": os.getgid()}, OWNER, FACTS, {"trial.py": ""}
        )
        tracker = Tracker()
        Installation(tracker, False).run(
            options["directories"], options["files"], options["secret_contents"], options["absent"], []
        )
        return {path.name for path in (tmp_path / "smoke").iterdir()}

    settings = {"ServerApp": {"allow_origin": "*"}}
    all_of_them = {"trial.py", "compose.yaml", "image-1.json", "image-2.json", "server_settings.json"}
    assert left(server_settings=settings) == all_of_them
    assert left(smoke=NOTEBOOKS[:1]) == {"trial.py", "compose.yaml", "image-2.json"}
    assert left(smoke=[]) == set()


def test_an_image_is_tried_until_it_has_passed_and_the_tag_can_go_back() -> None:
    before = [{"Id": "sha256:old", "RepoTags": ["a:1", "c:1"]}, {"Id": "sha256:b", "RepoTags": ["b:$1"]}]
    first, second = hub_smoke.due(hub(), FACTS, [], before)
    assert first == {
        "service": "image-1", "tag": "a:1", "id": "sha256:a", "python": "/opt/bin/python3", "old": "sha256:old",
    }  # fmt: skip
    assert second["old"] is None, "it is the image that the tag meant"
    assert hub_smoke.due(hub(), FACTS, ["sha256:b"], []) == [{**first, "old": None}]
    assert hub_smoke.due(hub(), FACTS, ["sha256:a", "sha256:b"], before) == []


def test_tags_go_back_whether_the_new_images_were_inspected_or_not() -> None:
    def engine(**ids: str) -> list[dict[str, Any]]:
        return [{"Id": image_id, "RepoTags": [f"{name}:1"]} for name, image_id in ids.items()]

    of_it = hub(images=[{"title": name, "image": f"docker.io/library/{name}:1"} for name in "abcde"])
    before = engine(a="sha256:old-a", b="sha256:old-b", c="sha256:old-c", d="sha256:old-d")
    after = engine(a="sha256:new-a", b="sha256:new-b", c="sha256:old-c", e="sha256:new-e")
    assert hub_smoke.untried(of_it, ["sha256:new-b"], before, after) == [
        {"tag": "docker.io/library/a:1", "old": "sha256:old-a"},
        {"tag": "docker.io/library/d:1", "old": "sha256:old-d"},
    ]
    (left,) = hub_smoke.untried(of_it, ["sha256:new-b"], before, after, ["sha256:new-a", "sha256:c"])
    assert left["tag"] == "docker.io/library/d:1", "a reset has tried the other, and given it to people"
    healthy = ["sha256:new-a", "sha256:new-b"]
    left, _missing = hub_smoke.untried(of_it, [], before, after, healthy, "sha256:new-a")
    assert left["tag"] == "docker.io/library/a:1", "a notebook has failed in it now"
    assert hub_smoke.untried(of_it, [], before, before) == []
    assert hub_smoke.untried(of_it, [], [], after) == []


def test_what_a_killed_run_has_noted_is_the_way_back() -> None:
    of_it = hub(images=[{"title": name, "image": f"docker.io/library/{name}:1"} for name in "abc"])
    now = [{"Id": "sha256:untried", "RepoTags": ["a:1", "other:1"]}, {"Id": "sha256:b", "RepoTags": ["b:1"]}]
    noted = hub_smoke.before(of_it, [{"Id": "sha256:a", "RepoTags": ["a:1"]}, now[1]], [], [])
    assert noted == [{"Id": "sha256:a", "RepoTags": ["a:1"]}, {"Id": "sha256:b", "RepoTags": ["b:1"]}]
    again = hub_smoke.before(of_it, now, noted, [{"Id": "sha256:a"}, {"Id": "sha256:b"}])
    assert again == noted
    assert hub_smoke.untried(of_it, [], again, now) == [{"tag": "docker.io/library/a:1", "old": "sha256:a"}]
    assert hub_smoke.untried(of_it, ["sha256:untried"], again, now) == []
    gone = hub_smoke.before(of_it, now, noted, [{"Id": "sha256:b"}])
    assert gone == [{"Id": "sha256:untried", "RepoTags": ["a:1"]}, noted[1]], "somebody removed the old image"
    for good in ((["sha256:untried"], []), ([], ["sha256:untried"])):
        since = hub_smoke.before(of_it, now, noted, [{"Id": "sha256:a"}], *good)
        assert since == [{"Id": "sha256:untried", "RepoTags": ["a:1"]}, noted[1]], "it has been tried since"
    fewer = hub(images=of_it["images"][1:])
    assert hub_smoke.before(fewer, now, noted, [{"Id": "sha256:a"}, {"Id": "sha256:b"}]) == noted[1:]


@pytest.mark.parametrize(
    "text", ["", "[", "{}x", "1", "[1]", '[{"Id": "a"}]', '[{"Id": "a", "RepoTags": null}]', "[" * 9999]
)
def test_a_damaged_note_says_nothing(text: str) -> None:
    assert hub_smoke.read_noted(text) == {"images": [], "damaged": True}


def test_a_note_is_read_as_it_was_written() -> None:
    images = [{"Id": "sha256:a", "RepoTags": ["a:1"]}]
    assert hub_smoke.read_noted(json.dumps(images)) == {"images": images, "damaged": False}


def test_the_database_keeps_its_image_if_a_run_fails() -> None:
    of_it = hub(database={"type": "postgresql", "image": "postgres:17"})
    old, new = ([{"Id": f"sha256:{each}", "RepoTags": ["postgres:17"]}] for each in ("old", "new"))
    assert hub_smoke.before(of_it, old, [], []) == old
    assert hub_smoke.untried(of_it, [], old, new) == [{"tag": "postgres:17", "old": "sha256:old"}]


def test_each_image_of_a_run_that_passes_is_recorded() -> None:
    passed = hub_smoke.with_passed(hub_smoke.with_passed(["sha256:old"], "sha256:a"), "sha256:b")
    assert passed == ["sha256:old", "sha256:a", "sha256:b"] and hub_smoke.due(hub(), FACTS, passed, []) == []
    assert hub_smoke.with_passed(passed, "sha256:a") == ["sha256:old", "sha256:b", "sha256:a"]
    many = [str(number) for number in range(hub_smoke.KEPT)]
    assert hub_smoke.with_passed(many, "sha256:a") == [*many[1:], "sha256:a"]


def test_only_a_notebook_that_failed_is_blamed() -> None:
    tasks = yaml.safe_load((ROOT / "roles/hub/tasks/trial.yml").read_text())
    (block,) = (task["block"] for task in tasks if "block" in task)
    start, runs, *_others = (task["name"] for task in block)
    trial = {"tag": "a:1", "old": "sha256:old"}
    assert hub_smoke.refusal(trial, runs, "check.ipynb, cell 2: ImportError: libgeo") == (
        "a smoke notebook failed in the image a:1, and the tag means the old image again: "
        "check.ipynb, cell 2: ImportError: libgeo"
    )
    assert hub_smoke.refusal({**trial, "old": None}, start, "no space left on device") == (
        "the image a:1 could not be tried with the smoke notebooks, and the tag still means it, because this run has "
        "replaced no other image: no space left on device"
    )


@pytest.mark.parametrize(
    ("declared", "listed"),
    [
        ("docker.io/jupyter/base:1", "jupyter/base:1"),
        ("index.docker.io/jupyter/base:1", "jupyter/base:1"),
        ("docker.io/library/lab:1", "lab:1"),
        ("docker.io/library/lab:1", "docker.io/library/lab:1"),
        ("registry.example.org:5000/library/lab:1", "registry.example.org:5000/library/lab:1"),
    ],
)
def test_the_old_image_is_found_under_the_name_that_docker_lists(declared: str, listed: str) -> None:
    before = [{"Id": "sha256:other", "RepoTags": ["lab:2"]}, {"Id": "sha256:old", "RepoTags": [listed]}]
    of_it = hub(images=[{"title": "a", "image": declared}], smoke=[{**NOTEBOOKS[1], "images": [0]}])
    (trial,) = hub_smoke.due(of_it, FACTS[:1], [], before)
    assert (trial["tag"], trial["old"]) == (declared, "sha256:old")
