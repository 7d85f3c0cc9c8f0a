# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cookies that Apache passes on to a hub whose users' pages can set cookies for its name.

The machine for unit tests has no Apache, so `passed_on` does what mod_headers does. tests/e2e/test_front.py and
tests/integration/test_hub_domains.py have a real one.
"""

from __future__ import annotations

import itertools
import re
import shlex

import pytest
from plan_helpers import good, hub
from tornado.httputil import parse_cookie

from testbed.virtual_host import virtual_host

LOGIN = "jupyterhub-hub-login"
PREFIX = "carrel-apart."
PROTECTED = f"__Host-{PREFIX}{LOGIN}=ada"


@pytest.fixture(scope="module")
def directives() -> list[list[str]]:
    entry = hub(name="apart", url="https://hub.test/", user_domains=True, tls="selfsigned", users=["ada"])
    vhost = {**good([entry])["apache_vhosts"][0]}
    vhost["locations"][0]["backend"] = "http://127.0.0.1:8801"
    lines = virtual_host(vhost, __apache_selfsigned_directory="/x").splitlines()
    return [shlex.split(line) for line in lines if "Cookie" in line and not line.strip().startswith("#")]


def edited(every: bool, pattern: str, replacement: str, value: str) -> str:
    """mod_headers.c: process_regexp. With edit*, what follows a match is edited like a header of its own."""
    found = re.search(pattern, value, re.ASCII | re.DOTALL)
    if not found:
        return value
    assert found.end() or not every, "Apache would never end"
    new = re.sub(r"\$(\d)|\\(.)", lambda sign: (found[int(sign[1])] or "") if sign[1] else sign[2], replacement)
    rest = value[found.end() :]
    return value[: found.start()] + new + (edited(every, pattern, replacement, rest) if every else rest)


def passed_on(directives: list[list[str]], cookie: str) -> str:
    pattern = next(words[2] for words in directives if words[0] == "RewriteCond" and "_xsrf" in words[2])
    token = re.search(pattern, cookie, re.ASCII)
    for _header, action, _name, pattern, replacement, condition in (
        words for words in directives if words[0] == "RequestHeader"
    ):
        if "-n reqenv('CARREL_XSRF')" in condition:
            if not token:
                continue
            replacement = replacement.replace("%{CARREL_XSRF}e", token[1])
        cookie = edited(action == "edit*", pattern, replacement, cookie)
    return cookie


def test_the_hub_gets_its_own_cookies(directives: list[list[str]]) -> None:
    sent = f"_xsrf=long; other=1; {PREFIX}a=2;{PREFIX}b=x=y; {PROTECTED}; __Secure-{PREFIX}c=3; _xsrf=short; d"
    assert parse_cookie(passed_on(directives, sent)) == {
        "_xsrf": "long", "a": "2", "b": "x=y", f"__Host-{LOGIN}": "ada", "__Secure-c": "3",
    }  # fmt: skip


PARTS = (PREFIX, "__Host-", "__host-", "__Secure-", " ", "\t", "\xa0", "\x1f", '"', "=", ",", "x")


@pytest.mark.parametrize("length", [1, 2, 3])
def test_no_name_becomes_one_that_browsers_protect(directives: list[list[str]], length: int) -> None:
    """Whatever is before a name that users' pages can set, except what browsers do not let them set."""
    for parts in itertools.product(PARTS, repeat=length):
        name = "".join(parts)
        if name.strip().lower().startswith(("__host-", "__secure-")):
            continue
        for sent in (f"{name}{LOGIN}=eve", f"{PROTECTED}; {name}{LOGIN}=eve", f"{name}{LOGIN}=eve; {PROTECTED}"):
            came = parse_cookie(passed_on(directives, sent))
            guarded = {key: value for key, value in came.items() if key.lower().startswith("__")}
            assert guarded in ({}, {f"__Host-{LOGIN}": "ada"}), sent


@pytest.mark.parametrize(
    "sent",
    [
        f"{3 * PREFIX}__Host-{LOGIN}=eve",
        f"{PREFIX}; {PREFIX}__Host-{LOGIN}=eve",
        f"{PREFIX}={PREFIX}__Host-{LOGIN}=eve",
        f"{PREFIX};{PREFIX};__Host-{LOGIN}=eve",
        f'{PREFIX}a="; __Host-{LOGIN}=eve"',
        f"{PREFIX}a=1, {PREFIX}__Host-{LOGIN}=eve",  # several headers
        f"; ;_xsrf=$0__Host-{LOGIN}=eve",
        f"a=1; _xsrf=$0$0\\__Host-{LOGIN}=eve; b=2",
        f"_xsrf=1; {PREFIX}_xsrf=2",
        f"_xsrf=1; {PREFIX}_XSRF=2; {PREFIX}_xsrf =3",
    ],
)
def test_no_header_as_a_whole_does(directives: list[list[str]], sent: str) -> None:
    came = parse_cookie(passed_on(directives, sent))
    assert f"__Host-{LOGIN}" not in came and came.get("_xsrf") in (None, "1", ""), came


def given(directives: list[list[str]], cookie: str) -> str:
    for words in directives:
        if words[:3] == ["Header", "edit", "Set-Cookie"] and words[4] == f"$1{PREFIX}":
            # Python before 3.11 has no possessive quantifiers
            cookie = edited(False, words[3].replace("?+", "?"), words[4], cookie)
    return cookie


def test_its_cookies_come_back_as_it_set_them(directives: list[list[str]]) -> None:
    for cookie in (f"__Host-{LOGIN}=1", "__Secure-a=2", "a=b=c", "a:b/c[d]=1", "_xsrf=3"):
        assert passed_on(directives, given(directives, cookie)) in (cookie, f"{cookie}; ")
