# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Users from CSV files. Problems with their content are in plan_people_cases.py."""

from __future__ import annotations

import csv
import io

import pytest
from ansible_collections.carrel.jupyter.plugins.module_utils._plan import roster as module
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.hub_values import USER, read_user
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.problems import Problems
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.roster import COLUMNS, Roster, read_roster
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.schema import INVALID
from hypothesis import given
from hypothesis import strategies as st

WORDS = st.text("abcdefghijklmnop.@-üñ", min_size=1, max_size=12)


def rows(text: str) -> tuple[Roster, list[str]]:
    problems = Problems()
    return read_roster(text, "users_csv", "class.csv", problems), [str(problem) for problem in problems.items]


def test_every_column() -> None:
    roster, problems = rows(
        "name,groups,admin,memory,swap,cpus,pids,password\n"
        "ada@uni.example,stat;geo,yes,8G,1G,1.5,500,SECRET SECRET\n"
        "grace, stat geo ;,No,,,,,\n"
    )
    ada, grace = roster.users
    assert problems == [] and not roster.doubtful and roster.passwords
    assert (ada.name, ada.groups, ada.admin) == ("ada@uni.example", ["stat", "geo"], True)
    assert ada.limits == {"memory": 8 << 30, "swap": 1 << 30, "cpus": 1.5, "pids": 500}
    assert ada.password == "SECRET SECRET"
    assert (grace.name, grace.groups, grace.admin, grace.limits) == ("grace", ["stat", "geo"], False, {})
    assert grace.path == "users_csv (class.csv line 3)"


@pytest.mark.parametrize("column", COLUMNS)
def test_each_column_takes_the_key_s_example(column: str) -> None:
    fields = {"name": "ada", column: USER[column].example}
    cells = [";".join(value) if isinstance(value, list) else str(value) for value in fields.values()]
    roster, problems = rows(f"{','.join(fields)}\n{','.join(cells)}\n")
    assert problems == []
    assert roster.users == [read_user(fields, "users_csv (class.csv line 2)", Problems())]


def test_as_spreadsheets_write_it() -> None:
    roster, problems = rows('\ufeffName,Groups\r\n"ada","stat; geo"\r\n\r\n,\r\ngrace,\r\n')
    assert problems == []
    assert [(user.name, user.groups) for user in roster.users] == [("ada", ["stat", "geo"]), ("grace", [])]
    assert roster.users[1].path == "users_csv (class.csv line 5)"


def test_only_a_header_is_nobody() -> None:
    roster, problems = rows("name,groups\n")
    assert (roster.users, roster.doubtful, problems) == ([], set(), [])


def test_all_problems_with_their_lines_and_no_password() -> None:
    roster, problems = rows(
        'name,memory,password\nada,lots,SECRET12\n,1G,SECRET12\nbob,1G,SECRET12,x\n"eve\neve",1G," SECRET12"\n'
    )
    assert roster.doubtful == {"bob", "1G", "SECRET12", "x"}
    assert [problem.partition(": ")[0] for problem in problems] == [
        "users_csv (class.csv line 2).memory",
        "users_csv (class.csv line 3).name",
        "users_csv (class.csv line 4)",
        "users_csv (class.csv line 6).name",
        "users_csv (class.csv line 6).password",
    ]
    assert "SECRET12" not in "".join(problems)
    assert [user.name for user in roster.users] == ["ada", INVALID, INVALID]


@pytest.mark.parametrize(
    ("line", "bad"), [('"ada"x,1G\n', 20), ('ada,"1G\n', 20), ('"ada"x,"1\nG",\n', 20), ("ada,1G,x\n", 50_000)]
)
def test_a_long_file_of_bad_lines_is_read_once(line: str, bad: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan must not take minutes for a quote that a spreadsheet forgot in each line."""
    split: list[str] = []
    words = module._words
    monkeypatch.setattr(module, "_words", lambda text: split.append(text) or words(text))
    roster, problems = rows("name,memory\ngrace,1G\n" + line * 50_000 + "last,1G\n")
    assert len(split) <= 1
    assert roster.users[0].name == "grace" and "ada" in {word.strip('"') for word in roster.doubtful}
    assert len(problems) == bad + (bad == 20)
    if bad == 20:
        assert problems[-1] == (
            "users_csv (class.csv): 20 lines are not CSV, and the lines after them were not read; correct these first"
        )
        assert "last" in roster.doubtful, "it is not called unknown elsewhere"


def test_few_bad_lines_leave_the_others() -> None:
    roster, problems = rows("name,memory\n" + '"ada"x,1G\n' * 19 + "last,1G\n")
    assert [user.name for user in roster.users] == ["last"] and len(problems) == 19


def test_a_header_with_many_columns_is_compared_once() -> None:
    _roster, problems = rows(",".join(["name", *["memory"] * 20_000]) + "\n")
    assert problems == ["users_csv (class.csv line 1): the column 'memory' is listed twice; keep one"]


@given(st.lists(st.tuples(WORDS, st.lists(WORDS, max_size=3)), max_size=6), st.sampled_from(["\n", "\r\n"]))
def test_what_csv_writes_is_read(people: list[tuple[str, list[str]]], end: str) -> None:
    file = io.StringIO(newline="")
    writer = csv.writer(file, lineterminator=end)
    writer.writerows([["name", "groups"], *([name, ";".join(groups)] for name, groups in people)])
    roster, problems = rows(file.getvalue())
    assert problems == []
    assert [(user.name, user.groups) for user in roster.users] == people


@given(st.text('name,;"\n\r\0 aü', max_size=60) | st.text(max_size=60).map("name,groups\n".__add__))
def test_any_text_is_read_or_refused(text: str) -> None:
    roster, problems = rows(text)
    assert not roster.doubtful or problems
    assert all("\n" not in problem for problem in problems)
