# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The names of users' directories, held against the DockerSpawner and the JupyterHub that are installed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ansible_collections.carrel.jupyter.plugins.module_utils._shared.escape import (
    LONGEST,
    escape,
    unescape,
    username_problem,
)
from dockerspawner import DockerSpawner
from hypothesis import given
from hypothesis import strategies as st
from jupyterhub.auth import Authenticator

VECTORS = json.loads((Path(__file__).parent / "data" / "escape_vectors.json").read_text())
NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=40) | st.text("ab.-2e/", max_size=8)


@pytest.mark.parametrize("name", VECTORS)
def test_vectors(name: str) -> None:
    assert VECTORS[name] == DockerSpawner._escape(name) == escape(name)


@given(NAMES)
def test_any_name_is_escaped_as_by_dockerspawner(name: str) -> None:
    assert escape(name) == DockerSpawner._escape(name)


def test_dockerspawner_uses_it_by_default() -> None:
    assert DockerSpawner().escape("ada@uni.example") == escape("ada@uni.example")


@given(NAMES, NAMES)
def test_no_name_escapes_to_another_name_s_directory(one: str, other: str) -> None:
    if username_problem(one) is None is username_problem(other):
        assert (escape(one) == escape(other)) == (one == other)


@given(NAMES)
def test_a_directory_can_be_mapped_back_to_its_name(name: str) -> None:
    if username_problem(name) is None:
        assert unescape(escape(name)) == name
        assert "/" not in escape(name) and not escape(name).startswith(".")


@pytest.mark.parametrize("directory", ["lost+found", "Ada", "a.b", "-ff", "-2D", "a-", "-61", "", ".archive", "é"])
def test_names_that_are_no_users_directory(directory: str) -> None:
    assert unescape(directory) is None


@given(NAMES)
def test_accepted_names_are_users_of_jupyterhub(name: str) -> None:
    if username_problem(name) is None:
        authenticator = Authenticator()
        assert authenticator.normalize_username(name) == name
        assert authenticator.validate_username(name)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("", "empty"),
        ("../etc", "slash"),
        ("..", "path"),
        ("%2e%2E", "path"),
        (" ada", "space"),
        ("Ada", "write 'ada'"),
        ("a\nb", "character"),
        ("\x02d", "character"),
        ("ada\u200b", "U+200B (zero width space)"),
        ("\ufeffada", "byte-order mark"),
        ("ada\u202efdp", "right-to-left override"),
        ("a\u00a0b", "U+00A0"),
        ("a\u3164", "hangul filler"),
        ("a\ufe0f", "variation selector"),
        ("a\ue000", "U+E000"),
        ("ada\u0645", "mixes letters"),
        ("zoe\u0308", "write 'zo\u00eb'"),
        ("a\udcff", "character"),
        ("n" * 300, f"300 characters, {LONGEST} fit"),
        ("学" * 26, "234 characters"),
    ],
)
def test_names_that_are_refused(name: str, says: str) -> None:
    problem = username_problem(name)
    assert problem and says in problem and len(problem) < 200
    problem.encode()


@pytest.mark.parametrize(
    "name",
    [
        "ada",
        "学生",
        "zoë",
        "a.b@c",
        "n" * LONGEST,
        "..a",
        "{x}",
        "\u0645\u062d\u0645\u062f@uni.example",
        "\u05e9\u05dc\u05d5\u05dd1",
    ],
)
def test_names_that_pass(name: str) -> None:
    assert username_problem(name) is None
