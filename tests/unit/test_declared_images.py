# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What instances get of the images that were built for them."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.carrel.jupyter.plugins.filter import declared_images
from ansible_collections.carrel.jupyter.plugins.module_utils._images import declared
from ansible_collections.carrel.jupyter.plugins.module_utils._images.declared import bind
from ansible_collections.carrel.jupyter.plugins.module_utils._site import hub_image
from plan_helpers import good, hub, lab

STATISTICS = {"declared": "statistics"}
GEO = {"declared": "geo"}
PULLED = "registry.example.org/lab:1.0"


def planned() -> dict[str, Any]:
    return good(
        [
            lab(image=STATISTICS),
            lab(name="one", url="https://one.example.org", engine="tao", image=GEO),
            lab(name="two", url="https://two.example.org", image=STATISTICS),
            lab(name="three", url="https://three.example.org", engine="tao", image=STATISTICS, state="held"),
            lab(name="four", url="https://four.example.org"),
            hub(image=..., images=[{"title": "a", "image": PULLED}, {"title": "b", "image": GEO}]),
        ],
        images=[{"name": "statistics"}, {"name": "geo"}],
    )


def built(engine: str, name: str, image: str | None, error: str | None = None) -> dict[str, Any]:
    return {"engine": engine, "name": name, "image": image, "error": error}


def names(entries: list[dict[str, Any]]) -> list[str]:
    return [entry["name"] for entry in entries]


def test_each_engine_has_tags_of_its_own() -> None:
    results = [
        built("tao", "statistics", "statistics:1"),
        built("tao", "geo", "geo:1"),
        built("two", "statistics", "statistics:2"),
        built("class101", "geo", "geo:3"),
    ]
    plan = planned()
    bound = bind(plan, results)
    images = ["statistics:1", "geo:1", "statistics:2", "statistics:1", PULLED]
    assert [item["image"] for item in bound["lab_instances"]] == images
    assert bound["hub_instances"][0]["images"] == [{"title": "a", "image": PULLED}, {"title": "b", "image": "geo:3"}]
    assert [job["images"] for job in bound["reset_jobs"]] == [*([image] for image in images), [PULLED, "geo:3"]]
    assert bound["failures"] == []
    assert plan == planned()


def test_a_failed_image_affects_only_its_own_instances() -> None:
    results = [
        built("tao", "statistics", None, "image statistics could not be built"),
        built("tao", "geo", "geo:1"),
        built("two", "statistics", "statistics:2"),
        built("class101", "geo", None, "no space left"),
    ]
    bound = bind(planned(), results)
    assert names(bound["lab_instances"]) == ["one", "two", "three", "four"]
    assert bound["hub_instances"] == []
    assert names(bound["reset_jobs"]) == ["one", "two", "three", "four"]
    assert [(item["name"], item["instances"]) for item in bound["failures"]] == [
        ("statistics", ["tao"]),
        ("geo", ["class101"]),
    ]


def test_what_is_not_as_declared_keeps_the_name_of_its_declaration_in_the_plan() -> None:
    bound = bind(planned(), [built("tao", "statistics", "statistics:1")], unbuilt=True)
    assert [item["image"] for item in bound["lab_instances"]] == [
        "statistics:1",
        GEO,
        STATISTICS,
        "statistics:1",
        PULLED,
    ]
    assert bound["hub_instances"][0]["images"][1]["image"] == GEO


JOBS = [{"engine": "tao", "images": ["statistics", "geo"]}, {"engine": "two", "images": ["statistics"]}]


def test_what_the_role_adds_to_the_entries_of_all() -> None:
    common = {
        "build_args": {"A": "all", "B": "all"}, "certificates": ["one"], "directory": "/images", "lab": "carrel/lab:1",
        "digests": {"own/geo": "abc"},
    }  # fmt: skip
    builds = [
        {"name": "statistics", "pip": ["x==1"], "build_args": {"B": "own"}, "extra_ca_certificates": ["two"]},
        {"name": "own/geo", "folder": "/control/geo", "base": None},
        {"name": "based", "base": "debian:trixie-slim"},
    ]
    assert declared.entries(builds, common) == [
        {"name": "statistics", "pip": ["x==1"], "build_args": {"A": "all", "B": "own"}, "base": "carrel/lab:1",
         "extra_ca_certificates": ["one", "two"]},
        {"name": "own/geo", "folder": "/images/own+geo/abc", "folder_digest": "abc",
         "build_args": {"A": "all", "B": "all"}},
        {"name": "based", "base": "debian:trixie-slim", "build_args": {"A": "all", "B": "all"},
         "extra_ca_certificates": ["one"]},
    ]  # fmt: skip


def test_a_run_goes_through_what_differs_alone() -> None:
    answers = [
        {"engine": "tao", "name": "statistics", "image": "statistics:1", "reasons": []},
        {"engine": "tao", "name": "geo", "image": None, "reasons": ["the engine does not have geo:1"]},
    ]
    left = [{"engine": "tao", "name": "geo"}, {"engine": "two", "name": "statistics"}]
    assert declared.differing(JOBS, answers) == left
    assert declared.differing(JOBS, []) == [{"engine": "tao", "name": "statistics"}, *left]


def test_another_hosts_images_are_compared_by_digest() -> None:
    jobs = declared.to_compare(JOBS, [{"name": "statistics"}, {"name": "geo"}], {"geo": {"digest": "geo@sha256:1"}})
    assert jobs[0]["images"] == [{"name": "statistics", "pulled": None}, {"name": "geo", "pulled": "geo@sha256:1"}]


def test_each_engine_of_a_host_adds_to_its_results_and_one_pushes() -> None:
    geo = {"name": "geo", "image": "geo:1", "image_id": "a", "digest": "r/geo@sha256:1"}
    lab = {"name": "lab", "image": "lab:1", "image_id": "b", "digest": None}
    found = declared.results({}, [geo, lab])
    images = [{"name": "geo", "push": "r"}, {"name": "lab", "push": "r"}, {"name": "new", "push": "r"}]
    assert [image["push"] for image in declared.to_push(images, found)] == [None, "r", "r"]
    there = [{"name": "lab", "image": "lab:1"}, {"name": "new", "image": None}]
    assert [image["push"] for image in declared.to_push(images, found, there)] == [None, None, "r"]
    second = {**geo, "image_id": "c", "digest": None}
    assert declared.results(found, [second]) == {"geo": {**second, "digest": geo["digest"]}, "lab": lab}
    assert declared.results(found, [{**second, "digest": "r/geo@sha256:2"}])["geo"]["digest"] == "r/geo@sha256:2"


def test_where_nothing_was_built_roles_get_text_all_the_same() -> None:
    bound = bind(planned(), [built("tao", "statistics", None)])
    assert [item["image"] for item in bound["lab_instances"]] == [
        "statistics",
        "geo",
        "statistics",
        "statistics",
        PULLED,
    ]
    assert bound["hub_instances"][0]["images"][1]["image"] == "geo"
    assert [job["images"] for job in bound["reset_jobs"]] == [[], [], [], [], [PULLED], [PULLED]]


@pytest.mark.parametrize("name", ["carrel/lab", "carrel/hub"])
def test_the_role_refuses_the_collections_own_names(name: str) -> None:
    """The plan does so, too."""
    with pytest.raises(AnsibleFilterError, match="is the name of the collection's own image; choose another one"):
        declared_images.folders([{"name": "geo"}, {"name": name, "folder": "own"}], "/inventory")


def test_each_certificate_has_a_file_of_its_own() -> None:
    assert declared.certificates(["one", "two"]) == {"certificates/extra0.crt": "one", "certificates/extra1.crt": "two"}
    shared = {"/c/_shared/a.py": "a"}
    assert hub_image.files(["x==1", "y==2"], shared, ["one", "two"]) == {
        "extra-requirements.txt": "x==1\ny==2\n",
        f"{hub_image.SHARED}/a.py": "a",
        "ca-certificates/extra0.crt": "one",
        "ca-certificates/extra1.crt": "two",
    }
