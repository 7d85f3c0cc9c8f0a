# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of identity providers as names of the hub."""

from __future__ import annotations

import pytest
from ansible_collections.carrel.jupyter.plugins.module_utils._shared.usernames import LONGEST, normalize, same_identity
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


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Kate", "kate"),
        (" ada@uni.example", "Ada@Uni.Example "),
        ("J\u00d6RG", "j\u00f6rg"),
        ("jo\u0308rg", "JO\u0308RG"),
        ("\u039d\u0399\u039a\u039f\u03a3", "\u03bd\u03b9\u03ba\u03bf\u03c2"),  # a sigma at the end
        ("\u0410\u0414\u0410", "\u0430\u0434\u0430"),
        ("\u212aate", "\u212aATE"),
    ],
)
def test_upper_and_lower_case_are_one_identity(first: str, second: str) -> None:
    assert same_identity(first, second) and same_identity(second, first)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("\u212aate", "kate"),  # a Kelvin sign
        ("\u212aate", "Kate"),
        ("\u212bsa", "\u00e5sa"),  # an Angstrom sign
        ("\u2126mega", "\u03c9mega"),  # an Ohm sign
        ("\u03f4eo", "\u03b8eo"),  # a theta symbol
        ("\u0130nan", "i\u0307nan"),
        ("stra\u00dfe", "strasse"),
        ("gro\u1e9e", "gro\u00df"),
        ("\u017fam", "sam"),
        ("\ufb01n", "fin"),
        ("jo\u0308rg", "j\u00f6rg"),
        ("\uf900", "\u8c48"),
    ],
)
def test_other_characters_are_another_identity(first: str, second: str) -> None:
    """Whoever has one of these can have the other one, too: providers keep them apart, or some do."""
    assert not same_identity(first, second) and not same_identity(second, first)


@given(st.characters(), st.characters())
def test_no_character_stands_for_an_ascii_letter(one: str, other: str) -> None:
    if same_identity(one, other) and one.isascii():
        assert other.isascii() or not one.strip()
