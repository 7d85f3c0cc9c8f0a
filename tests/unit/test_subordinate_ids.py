# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.carrel.jupyter.plugins.module_utils._engine.subordinate_ids import (
    Bounds,
    Entry,
    Range,
    Side,
    free_range,
    make_plan,
    parse,
    parse_login_defs,
)
from hypothesis import given
from hypothesis import strategies as st

COUNT = 65536
ANYWHERE = Bounds()


def sides(text: str, taken: frozenset[int] = frozenset(), bounds: Bounds = ANYWHERE) -> dict[str, Side]:
    return {kind: Side(parse(text), taken, bounds) for kind in ("uid", "gid")}


def test_parse_skips_invalid_lines() -> None:
    text = "# comment\n\nada:100000:65536\nbroken\nx:1\n:5:5\nada:a:b\nempty:5:0\n1001:300000:65536\n"
    assert parse(text) == [Entry("ada", Range(100000, 65536)), Entry("1001", Range(300000, 65536))]


def test_login_defs() -> None:
    text = "#SUB_UID_MIN 5\nSUB_UID_MIN\t 200000\nSUB_UID_MAX 900000 # all\nSUB_GID_MIN x\nUMASK 022\n"
    assert parse_login_defs(text, "uid") == Bounds(200000, 900000)
    assert parse_login_defs(text, "gid") == Bounds()


def test_a_good_range_is_kept() -> None:
    plan = make_plan({"ada": 1000}, sides("bob:100000:65536\nada:300000:70000\n"), COUNT)
    assert (plan.problems, plan.additions) == ([], {})
    assert plan.ranges == {"ada": {"uid": Range(300000, 70000), "gid": Range(300000, 70000)}}


def test_an_entry_may_name_the_uid() -> None:
    assert make_plan({"ada": 1000}, sides("1000:100000:65536\n"), COUNT).additions == {}


def test_an_account_to_come_has_no_uid_to_look_for() -> None:
    assert "ada" in make_plan({"ada": None}, sides("None:100000:65536\n"), COUNT).additions


def test_new_ranges_fill_the_lowest_hole_and_do_not_collide() -> None:
    text = "x:100000:65536\ny:231072:65536\n"
    plan = make_plan({"ada": 1000, "bob": None}, sides(text), COUNT)
    assert plan.problems == []
    assert plan.additions["ada"] == {"uid": Range(165536, COUNT), "gid": Range(165536, COUNT)}
    assert plan.additions["bob"]["uid"] == Range(296608, COUNT)


def test_only_the_missing_file_is_added_to() -> None:
    both = {"uid": Side(parse("ada:100000:65536\n")), "gid": Side([])}
    assert make_plan({"ada": 1000}, both, COUNT).additions == {"ada": {"gid": Range(100000, COUNT)}}


def test_new_ranges_avoid_ids_of_the_host() -> None:
    plan = make_plan({"ada": 1000}, sides("", taken=frozenset({0, 100500})), COUNT)
    assert plan.ranges["ada"]["uid"] == Range(100501, COUNT)


@pytest.mark.parametrize(
    ("text", "taken", "words"),
    [
        (
            "ada:100000:65536\nada:300000:65536\n",
            (),
            ["2 ranges (100000:65536, 300000:65536)", "usermod --del-subuids"],
        ),
        ("ada:100000:1000\n", (), ["has 1000 ids", "65536 are needed", "--del-subuids 100000-100999 ada"]),
        ("ada:100000:65536\nbob:165535:9\n", (), ["100000:65536 of ada overlaps 165535:9 of bob"]),
        ("ada:100000:65536\nbob:100000:65536\n", (), ["overlaps 100000:65536 of bob"]),
        ("ada:100000:65536\n", (165535,), ["holds the uid 165535"]),
    ],
)
def test_problems_are_reported_and_never_repaired(text: str, taken: tuple[int, ...], words: list[str]) -> None:
    plan = make_plan({"ada": 1000}, {"uid": Side(parse(text), frozenset(taken))}, COUNT)
    assert plan.additions == {}
    assert len(plan.problems) == 1
    assert plan.problems[0].startswith("/etc/subuid: ")
    for word in words:
        assert word in plan.problems[0]


def test_strangers_may_overlap_each_other() -> None:
    assert make_plan({"ada": 1}, sides("x:1:9\ny:1:9\nada:100000:65536\n"), COUNT).problems == []


def test_no_room() -> None:
    plan = make_plan({"ada": 1000}, sides("", bounds=Bounds(100000, 165534)), COUNT)
    assert "no 65536 consecutive ids are free between 100000 and 165534 for ada" in plan.problems[0]
    assert plan.ranges == {}


ranges = st.builds(Range, st.integers(0, 2000), st.integers(1, 300))


@given(used=st.lists(ranges, max_size=8), count=st.integers(1, 300), first=st.integers(0, 500))
def test_a_free_range_is_free_and_the_lowest(used: list[Range], count: int, first: int) -> None:
    found = free_range(used, count, Bounds(first, 2500))
    candidates = (Range(start, count) for start in range(first, 2501 - count + 1))
    lowest = next((one for one in candidates if not any(one.overlaps(other) for other in used)), None)
    assert found == lowest
