# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Limits that need no cgroup arrive in containers: from an inventory, in a lab and for a hub's users and groups."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hub_image
import pytest
from ansible_collections.carrel.jupyter.plugins.action.plan import ControlFiles
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.limits import settled
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.plan import Inputs, make_plan
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.problems import Problems
from ansible_collections.carrel.jupyter.plugins.module_utils._site import hub
from hub_site import HubSite
from lab_site import LabSite
from module_runner import open_to_all

from testbed.run import run

MB = 1 << 20


def inside(container: str) -> dict[str, Any]:
    """The limits as a program in the container finds them."""
    shm = run("docker", "exec", container, "df", "--block-size=1", "--output=size", "/dev/shm")
    lines = run("docker", "exec", container, "cat", "/proc/1/limits").splitlines()
    limits = {line[:26].strip(): line[26:].split()[:2] for line in lines}
    return {"shm_size": int(shm.split()[1]), "core": limits["Max core file size"], "nofile": limits["Max open files"]}


def test_a_lab_has_what_is_declared_and_otherwise_dockers(tmp_path: Path) -> None:
    lab_image = os.environ["CARREL_TEST_LAB_IMAGE"]
    name = f"carrel-test-{os.getpid()}"
    with LabSite(open_to_all(tmp_path), name, image=lab_image, shm_size="200M", ulimits={"nofile": 2000}) as site:
        assert inside(site.container) == {"shm_size": 200 * MB, "core": ["0", "0"], "nofile": ["2000", "2000"]}


INVENTORY: dict[str, Any] = {
    "url": "http://127.0.0.1/",
    "tls": "none",
    "kind": "hub",
    "users": [
        {"name": "ada", "groups": ["small", "large"]},
        {"name": "grace", "groups": ["large"], "shm_size": "90M", "ulimits": {"core": 7}},
        "eve",
    ],
    "groups": {
        "small": {"shm_size": "100M", "ulimits": {"nofile": 5000}},
        "large": {"shm_size": "150M", "ulimits": {"nofile": {"soft": 1000, "hard": 6000}}},
    },
    "limits": {"shm_size": "80M", "ulimits": {"nofile": 4000}},
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubSite]:
    images = hub_image.build(), os.environ["CARREL_TEST_LAB_IMAGE"]
    name = f"carrel-test-limits-{os.getpid()}"
    problems = Problems()
    entry = {**INVENTORY, "name": name, "image": images[1]}
    plan = make_plan(Inputs(instances=[entry]), ControlFiles(None), problems)
    assert plan, problems.items
    (instance,) = plan["hub_instances"]
    site = HubSite(open_to_all(tmp_path_factory.mktemp("hub")), name, images, limits=instance["limits"])
    site.people = json.loads(hub.people(instance)["roster"])["users"]
    site.passwords = {user: f"first-{user}" for user in site.people}
    try:
        site.up()
        yield site
    finally:
        site.down()


# The widest of the groups; the user's own and of the group what the user does not say; the hub's.
@pytest.mark.parametrize(
    ("user", "shm_size", "core", "nofile"),
    [
        ("ada", 150, ["0", "0"], ["1000", "6000"]),
        ("grace", 90, ["7", "7"], ["1000", "6000"]),
        ("eve", 80, ["0", "0"], ["4000", "4000"]),
    ],
)
def test_a_user_has_their_own_else_the_widest_of_the_groups_else_the_hubs(
    site: HubSite, user: str, shm_size: int, core: list[str], nofile: list[str]
) -> None:
    with site.session().login(user, f"first-{user}") as session, session.spawn():
        assert inside(site.container(user)) == {"shm_size": shm_size * MB, "core": core, "nofile": nofile}


@pytest.mark.parametrize(
    ("ulimits", "message"),
    [
        ({"nofile": "many"}, "ulimits.nofile: is text; write a whole number from -1 to"),
        (
            {"nofile": {"soft": 9, "hard": 8}},
            "ulimits.nofile.soft: 9 is out of range; write a whole number from 0 to 8",
        ),
        ({"nofile": {"soft": -1, "hard": 8}}, "ulimits.nofile.soft: -1 is out of range"),
        ({"nofile": {"soft": 8}}, "ulimits.nofile.hard: is missing; write what it can be raised to"),
        ({"openfiles": 8}, "ulimits.openfiles: unknown key; did you mean 'nofile'?"),
    ],
)
def test_ulimits_that_make_no_sense_are_refused(ulimits: Any, message: str) -> None:
    problems = Problems()
    entry = {"name": "tao", "url": "https://tao.example.org/", "tls": "acme", "image": "lab:1", "ulimits": ulimits}
    assert make_plan(Inputs(instances=[entry]), ControlFiles(None), problems) is None
    (problem,) = problems.items
    assert message in str(problem)


def test_no_limit_is_wider_than_any() -> None:
    some, none = {"stack": {"soft": 5, "hard": 5}}, {"stack": {"soft": -1, "hard": -1}}
    assert settled(None, [some, none], None) == none and settled(None, [none, some], some) == none
    assert settled(some, [none], None) == some and settled(None, [], None) is None
