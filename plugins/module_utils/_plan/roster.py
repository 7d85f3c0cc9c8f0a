# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read users from a CSV file, whose columns are a user's keys."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

from ansible_collections.carrel.jupyter.plugins.module_utils._plan.hub_values import USER, User, read_user
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.nearest import nearest
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.problems import Problems, show
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.schema import Computed

COLUMNS = [name for name, key in USER.items() if key.type.argument != "dict"]
_MOST_SYNTAX = 20  # more say nothing new: a quote that nobody closed spoils each line after it
_YES, _NO = ("true", "yes", "1"), ("false", "no", "0")


class Roster(NamedTuple):
    users: list[User]
    doubtful: set[str]  # words of lines that cannot be read, which may be names
    passwords: bool  # whether the file has any


def read_roster(text: str, path: str, file: str, problems: Problems) -> Roster:
    """Read a roster. PATH is the key that names FILE. Problems name file and line, and never show a password."""
    rows = csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""), strict=True)
    users: list[User] = []
    doubtful: set[str] = set()
    columns: list[str | None] | None = None
    header: list[str] = []
    unreadable = 0
    while True:
        try:
            row = next(rows, None)
        except csv.Error as error:
            problems.add(f"{path} ({file} line {rows.line_num})", "roster_syntax", error=error)
            unreadable += 1
            if unreadable == _MOST_SYNTAX:
                problems.add(f"{path} ({file})", "roster_syntax_many", count=unreadable)
            if columns is None or unreadable == _MOST_SYNTAX:
                break
            continue
        # If a field in quotes has line breaks, this is the number of its last line.
        here = f"{path} ({file} line {rows.line_num})"
        if row is None:
            break
        if not any(field.strip() for field in row):
            continue
        if columns is None:
            columns, header = _columns(row, here, problems), _names(row)
            if columns is None:
                unreadable += 1
                break
        elif _names(row) == header:
            problems.add(here, "roster_header_twice")
        elif len(row) != len(columns):
            problems.add(here, "roster_fields", got=len(row), wanted=len(columns))
            doubtful.update(field.strip() for field in row)
        else:
            users.append(read_user(_values(zip(columns, row)), here, problems))
    if unreadable:
        doubtful |= _words(text)
    if columns is None and not doubtful:
        problems.add(f"{path} ({file})", "roster_empty")
    passwords = any(user.password is not None for user in users)
    return Roster(users, doubtful, passwords)


def _words(text: str) -> set[str]:
    return set(re.split(r'[,;"\s]+', text))


def _names(row: list[str]) -> list[str]:
    """Return the names of columns. In files that were joined, a later header may have a byte-order mark."""
    return [field.strip().lower().removeprefix("\ufeff") for field in row]


def _columns(row: list[str], here: str, problems: Problems) -> list[str | None] | None:
    """Return the key of each column, or None for an unknown one. Returns None if the header is wrong."""
    names = _names(row)
    if "name" not in names:
        # The line is not shown: it may be a user's, with a password.
        problems.add(here, "roster_header")
        return None
    columns: list[str | None] = []
    for name in names:
        near = nearest(name, COLUMNS) if name not in COLUMNS else None
        columns.append(name if name in COLUMNS else near)
        if name in COLUMNS:
            continue
        hint = f"did you mean '{near}'?" if near else "the columns are: " + ", ".join(COLUMNS)
        problems.add(here, "roster_column", value=show(name), hint=hint)
    twice = sorted(name for name, count in Counter(columns).items() if name and count > 1)
    for name in twice:
        problems.add(here, "roster_column_twice", value=show(name))
    return None if twice else columns


def _values(fields: Iterable[tuple[str | None, str]]) -> dict[str, Any]:
    """Return values as YAML would give them. Other text stays text, and the reader of the key refuses it."""
    result: dict[str, Any] = {}
    for key, field in fields:
        value = field if key == "password" else field.strip()
        if not value or key is None:
            continue
        if key == "groups":
            result[key] = [group for group in re.split(r"[;\s]+", value) if group]
        elif key == "admin":
            folded = value.lower()
            result[key] = folded in _YES if folded in (*_YES, *_NO) else value
        else:
            result[key] = Computed(value)
    return result
