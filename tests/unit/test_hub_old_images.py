# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which images of hubs are removed; tests/integration/test_hub_trial.py runs the tasks."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.carrel.jupyter.plugins.filter.declared_images import old_labs
from ansible_collections.carrel.jupyter.plugins.module_utils._site.hub_image import LAB_LABEL, LABEL, old

from testbed.run import ROOT

NOW = "carrel/hub:now"


def image(created: int, *names: str) -> dict[str, Any]:
    return {"Id": f"sha256:{created}", "Created": created, "RepoTags": [*names], "Labels": {LABEL: ""}}


IMAGES = [image(2, "carrel/hub:b"), image(4, NOW), image(1, "carrel/hub:a"), image(3, "carrel/hub:c")]


def test_the_last_one_before_is_the_way_back() -> None:
    assert old(IMAGES, [], NOW) == ["carrel/hub:b", "carrel/hub:a"]
    assert old(IMAGES[:2], [], NOW) == []
    assert old([], [], NOW) == []


def test_check_mode_finds_the_same_before_the_new_one_is_built() -> None:
    running = [{"ImageID": "sha256:3"}]
    before = [each for each in IMAGES if NOW not in each["RepoTags"]]
    assert old(before, running, NOW) == old(IMAGES, [{"ImageID": "sha256:4"}], NOW)


def test_what_a_container_uses_stays() -> None:
    """Also a stopped one, as of a hub that is held; Docker tells all of them."""
    assert old(IMAGES, [{"ImageID": "sha256:1"}, {"ImageID": "sha256:9"}], NOW) == ["carrel/hub:b"]


def test_the_way_back_is_one_that_would_be_removed_otherwise() -> None:
    assert old(IMAGES, [{"ImageID": "sha256:3"}], NOW) == ["carrel/hub:a"]
    assert old([*IMAGES, image(9, "carrel/hub:x", "mine:1")], [], NOW) == ["carrel/hub:b", "carrel/hub:a"]


@pytest.mark.parametrize("labels", [None, {}, {"carrel.python": "/usr/bin/python3"}])
def test_images_of_a_lab_called_hub_and_declared_ones_are_others(labels: dict[str, str] | None) -> None:
    theirs = {**image(9, "carrel/hub:1.0"), "Labels": labels}
    assert old([*IMAGES, theirs], [], NOW) == ["carrel/hub:b", "carrel/hub:a"]
    assert old([image(9, "carrel/hub:c"), *IMAGES[1:2], theirs, theirs], [], NOW) == []
    assert f"LABEL {LABEL}=" in (ROOT / "roles/hub/files/image/Dockerfile").read_text()


def test_the_same_goes_for_lab_images_and_not_for_what_stands_on_them() -> None:
    names = ("carrel/lab:a", "carrel/lab:b", "statistics:0f5a3c9d1e2b", "carrel/hub:x", "carrel/lab:now")
    images = [{**image(number, name), "Labels": {LAB_LABEL: ""}} for number, name in enumerate(names)]
    images.append(image(9, "carrel/lab:1.0"))
    assert old_labs(images, [], "carrel/lab:now") == ["carrel/lab:a"], "the last one before is the way back"
    assert old_labs(images, [{"ImageID": "sha256:0"}], "carrel/lab:now") == []
    assert f"LABEL {LAB_LABEL}=" in (ROOT / "images/lab/Dockerfile").read_text()


@pytest.mark.parametrize("names", [["mine:1"], ["carrel/hub:b", "mine:1"], ["carrel/hubs:b"], ["x/carrel/hub:b"], []])
def test_what_somebody_named_otherwise_stays(names: list[str]) -> None:
    assert old([*IMAGES[1:], image(2, *names)], [], NOW) == ["carrel/hub:a"]
    assert old([*IMAGES[1:], {**image(2), "RepoTags": None}], [], NOW) == ["carrel/hub:a"]


def test_an_image_may_have_several_names_of_hubs() -> None:
    both = image(1, "carrel/hub:a", "carrel/hub:again")
    assert old([*IMAGES[:2], both], [], NOW) == ["carrel/hub:a", "carrel/hub:again"]
    assert old([image(1, "carrel/hub:a", NOW), *IMAGES[:1]], [], NOW) == []
