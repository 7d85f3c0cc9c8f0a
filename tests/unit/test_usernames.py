# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of identity providers as names of the hub."""

from __future__ import annotations

import pytest
from ansible_collections.carrel.jupyter.plugins.module_utils._shared.usernames import LONGEST, normalize
from hypothesis import given
from hypothesis import strategies as st

PARTS = st.text("abcz.-, AÄß09", max_size=40)
RAW = st.text(max_size=60) | st.builds("{}@{}".format, PARTS, PARTS)


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        ("Foo.Bar@mail.ch", "foo-bar--mail-ch"),
        ("ada", "ada"),
        ("Lovelace, Ada", "lovelaceada"),
        ("maximilian.mustermann@uni.example", "maximilian-musterm--uni-example"),
        ("x" * 40, "x" * 31),
        ("a@" + "d" * 40, "a--" + "d" * 28),
        ("abcdefghijklmnopqrst@" + "d" * 40, "abcdefghijklmno--" + "d" * 14),
        ("a@b@uni.example", "a--b--uni-example"),
        ("Jörg@uni.example", "jörg--uni-example"),
        ("", ""),
    ],
)
def test_examples(raw: str, name: str) -> None:
    assert normalize(raw) == name


@given(RAW)
def test_a_normal_name_is_short_plain_and_stays_as_it_is(raw: str) -> None:
    name = normalize(raw)
    assert len(name) <= LONGEST
    assert not set(name) & set(",.@ ")
    assert name == name.lower()
    assert normalize(name) == name


@given(st.text("abc.@-, ", max_size=31), st.text("abc.", min_size=1, max_size=28))
def test_the_domain_is_kept_when_it_fits(local: str, domain: str) -> None:
    assert normalize(f"{local}@{domain}").endswith("--" + domain.replace(".", "-"))
