# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the takeover of a hub decides: whose ids become whose, and why it is refused."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.carrel.jupyter.plugins.module_utils._adopt import takeover as decide_all
from ansible_collections.carrel.jupyter.plugins.module_utils._adopt import takeover_hub as decide

OLD = decide.Span(1001, 200000, 65536), decide.Span(1002, 200000, 65536)
NEW = decide.Span(1003, 300000, 65536), decide.Span(1004, 400000, 65536)
ENTRY: dict[str, Any] = {
    "hub": "class", "account": "old", "container": "jupyterhub", "port": 8000, "homes": [],
    "files": ["/etc/cron.d/hub"], "shared": [],
}  # fmt: skip
HUB = {"name": "class", "state": "present", "backend": "directories", "engine": "class"}


@pytest.mark.parametrize(
    ("old", "new", "found", "expected"),
    [
        (None, NEW, (1000, 100), (300999, 400099)),
        (None, NEW, (0, 0), (1003, 1004)),
        (None, NEW, (65537, 0), None),
        (OLD, NEW, (200999, 200099), (300999, 400099)),
        (OLD, NEW, (1001, 1002), (1003, 1004)),
        (OLD, NEW, (0, 1002), None),
        (OLD, NEW, (1000, 200099), None),
        (NEW, None, (300999, 400099), (1000, 100)),
        (NEW, OLD, (1003, 400099), (1001, 200099)),
    ],
)
def test_ids_in_containers_stay_the_same(
    old: decide.Spans | None, new: decide.Spans | None, found: tuple[int, int], expected: tuple[int, int] | None
) -> None:
    assert decide.owners(old, new)(*found) == expected


@pytest.mark.parametrize(
    ("hubs", "words"),
    [
        ([HUB], ""),
        ([], "jupyter_instances has no hub class: declare it, as carrel.jupyter.adopt wrote it"),
        ([{**HUB, "state": "absent"}], "jupyter_instances has no hub class: declare it"),
        ([{**HUB, "backend": "volumes"}], "class has backend: volumes, into which no files are copied"),
        ([{**HUB, "engine": "old"}], "class would get the engine of the old hub: write another engine"),
    ],
)
def test_a_hub_that_cannot_have_the_files_is_refused(hubs: list[dict[str, Any]], words: str) -> None:
    assert decide.declared_problem(ENTRY, hubs).startswith(words)
    assert bool(words) == bool(decide.declared_problem(ENTRY, hubs))


def test_what_the_diff_says() -> None:
    before, after = decide.described(ENTRY)
    assert before == "container jupyterhub: as it was set up\n/etc/cron.d/hub\n"
    assert after.endswith("not restarted\n/etc/carrel/adopted/class/etc/cron.d/hub\n")


def test_hubs_are_chosen_by_their_names_and_free_their_ports() -> None:
    labs = {"account": "old", "instances": [{"name": "lab", "port": 9288}]}
    assert decide_all.chosen([ENTRY, labs], ["class"]) == [ENTRY]
    assert decide_all.chosen([ENTRY, labs], ["old"]) == [labs]
    assert decide_all.not_chosen(["class", "geo"], {"h1": [ENTRY]}) == ["geo is in jupyter_adopted of no host"]
    current = {
        "accounts": {"old": 1001},
        "engines": {},
        "listening_ports": [22, 8000, 9288],
        "taken_in_part": ["class"],
    }
    foreseen = decide_all.foreseen(current, [ENTRY])
    assert (foreseen["listening_ports"], foreseen["engines"], foreseen["taken_in_part"]) == ([22, 9288], {}, [])
    assert decide_all.foreseen(current, [ENTRY, labs])["listening_ports"] == [22]


def test_only_a_policy_that_docker_has_is_kept() -> None:
    more = {"Name": "on-failure", "MaximumRetryCount": 3, "Else": ["x"] * 1000}
    assert decide.restart_policy(more) == {"Name": "on-failure", "MaximumRetryCount": 3}
    assert decide.restart_policy({"Name": ""}) == {"Name": "no", "MaximumRetryCount": 0}
    with pytest.raises(ValueError, match="the engine answers with the restart policy 'x', and Docker has no, always"):
        decide.restart_policy({"Name": "x"})


def test_archives_of_a_hub_before_the_takeover_are_another_ones() -> None:
    found = ["my-hub-20260101T000000Z", "my-hub-20260303T010000Z", "my-hub-20260303T010001Z"]
    assert decide_all.since(found, "20260303T010000Z") == found[1:]


def test_room_and_what_was_left() -> None:
    assert decide.room(10, 10, "/srv") is None
    assert (
        decide.room(2 << 30, 1 << 30, "/srv")
        == "people's files take 2.0 GiB, and /srv has 1.0 GiB free: make room first"
    )
    assert decide.left_out("ada", "from /old", [], 0) is None
    assert decide.left_out("ada", "from /old", ["a is x", "b is x"], 12) == (
        "ada: not copied from /old: a is x; b is x, and 10 more"
    )
