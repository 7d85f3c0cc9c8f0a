# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Users from a CSV file: name,groups,admin,memory and, if wanted, swap, cpus, pids and password."""

from __future__ import annotations

import csv
import io
import re
from typing import Any, NamedTuple

from ansible_collections.carrel.jupyter.plugins.module_utils._nearest import nearest
from ansible_collections.carrel.jupyter.plugins.module_utils._plan_hub_values import USER, User, read_user
from ansible_collections.carrel.jupyter.plugins.module_utils._plan_problems import Problems, show

_YES, _NO = ("true", "yes", "1"), ("false", "no", "0")


class Roster(NamedTuple):
    users: list[User]
    complete: bool  # whether every line could be read
    passwords: bool  # whether there is one in it


def read_roster(text: str, path: str, file: str, problems: Problems) -> Roster:
    """PATH is the key that names FILE. Problems name the file and the line, and never show a password."""
    rows = csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""), strict=True)
    before = len(problems.items)
    users: list[User] = []
    header: list[str] | None = None
    try:
        for row in rows:
            # A field in quotes may have line breaks; then this is the last of its lines.
            here = f"{path} ({file} line {rows.line_num})"
            if not any(field.strip() for field in row):
                continue
            if header is None:
                header = _header(row, here, problems)
                if header is None:
                    break
            elif len(row) != len(header):
                problems.add(here, "roster_fields", got=len(row), wanted=len(header))
            else:
                users.append(read_user(_values(dict(zip(header, row))), here, problems))
        else:
            if header is None:
                problems.add(f"{path} ({file})", "roster_empty")
    except csv.Error as error:
        problems.add(f"{path} ({file} line {rows.line_num})", "roster_syntax", error=error)
    passwords = any(user.password is not None for user in users)
    return Roster(users, len(problems.items) == before, passwords)


def _header(row: list[str], here: str, problems: Problems) -> list[str] | None:
    names = [field.strip().lower() for field in row]
    if "name" not in names:
        # What stands there instead may be a user's line, with a password.
        problems.add(here, "roster_header")
        return None
    unknown = [name for name in names if name not in USER]
    for name in unknown:
        near = nearest(name, USER)
        hint = f"did you mean '{near}'?" if near else "the columns are: " + ", ".join(USER)
        problems.add(here, "roster_column", value=show(name), hint=hint)
    twice = sorted({name for name in names if names.count(name) > 1} - set(unknown))
    for name in twice:
        problems.add(here, "roster_column_twice", value=show(name))
    return None if unknown or twice else names


def _values(fields: dict[str, str]) -> dict[str, Any]:
    """As YAML would have them. What is no number or truth value stays text, which the reader refuses."""
    result: dict[str, Any] = {}
    for key, field in fields.items():
        value = field if key == "password" else field.strip()
        if not value:
            continue
        if key == "groups":
            result[key] = [group for group in re.split(r"[;\s]+", value) if group]
        elif key == "admin":
            folded = value.lower()
            result[key] = folded in _YES if folded in (*_YES, *_NO) else value
        elif key in ("cpus", "pids") and re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,6})?", value):
            result[key] = float(value) if "." in value else int(value)
        else:
            result[key] = value
    return result
