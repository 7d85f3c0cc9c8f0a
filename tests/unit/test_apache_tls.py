# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Against certificates that openssl makes here."""

from __future__ import annotations

import subprocess
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from ansible_collections.carrel.jupyter.plugins.module_utils._apache import certificates as tls
from ansible_collections.carrel.jupyter.plugins.module_utils._apache.sites import file
from ansible_collections.carrel.jupyter.plugins.module_utils._host.apache_pairs import look_at

NOW = datetime.now(timezone.utc)
PAIR = tls.Pair("a.test", "/a.crt", "/a.key")


def certificate(tmp_path: Path, name: str, days: int = 100, subdomains: bool = False) -> Path:
    (tmp_path / "config").write_text(tls.request_config(name, subdomains))
    command = ["openssl", "req", "-x509", "-config", tmp_path / "config", "-newkey", "ec", "-nodes"]
    command += ["-pkeyopt", "ec_paramgen_curve:prime256v1", "-days", str(days)]
    subprocess.run([*command, "-keyout", tmp_path / "key", "-out", tmp_path / "crt"], check=True, capture_output=True)
    return tmp_path / "crt"


def look(path: Path, name: str) -> tls.Seen:
    command = ["openssl", "x509", "-in", path, *tls.check_arguments(name)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return tls.read_check(result.stdout + result.stderr)


@pytest.mark.parametrize("name", ["a.test", "192.0.2.1", "[2001:db8::1]", "x" * 60 + "." + "y" * 30 + ".test"])
def test_a_generated_certificate_is_for_its_name(tmp_path: Path, name: str) -> None:
    seen = look(certificate(tmp_path, name), name)
    assert seen.problem is None and seen.matches_name
    assert seen.not_after and abs(seen.not_after - NOW - timedelta(days=100)) < timedelta(hours=1)
    assert not tls.must_generate(seen, NOW)


@pytest.mark.parametrize("other", ["b.test", "192.0.2.1"])
def test_another_name(tmp_path: Path, other: str) -> None:
    seen = look(certificate(tmp_path, "a.test"), other)
    assert not seen.matches_name
    assert tls.must_generate(seen, NOW)
    assert "other names" in tls.advice(PAIR, seen, NOW)[0]


@pytest.mark.parametrize("covered", [True, False])
def test_users_domains_are_in_the_certificate(tmp_path: Path, covered: bool) -> None:
    path = certificate(tmp_path, "a.test", subdomains=covered)
    for self_signed in (True, False):
        pair = tls.Pair("a.test", str(path), str(tmp_path / "key"), self_signed, subdomains=True)
        seen = look_at(pair)
        assert (seen.matches_name, seen.matches_subdomains) == (True, covered)
        assert tls.must_generate(seen, NOW) is not covered
        complaint = tls.domains_complaint(pair, seen)
        assert complaint is None if covered else "install one for a.test and *.a.test" in str(complaint)
    plain = tls.Pair("a.test", str(path), str(tmp_path / "key"))
    assert tls.domains_complaint(plain, look_at(plain)) is None and not tls.must_generate(look_at(plain), NOW)


def test_it_is_renewed_thirty_days_before_its_end(tmp_path: Path) -> None:
    seen = look(certificate(tmp_path, "a.test", days=31), "a.test")
    assert not tls.must_generate(seen, NOW)
    assert tls.must_generate(seen, NOW + timedelta(days=2))


def test_expired(tmp_path: Path) -> None:
    seen = look(certificate(tmp_path, "a.test", days=10), "a.test")
    assert tls.complaint(PAIR, seen, NOW) is None
    assert "expires on" in tls.advice(PAIR, seen, NOW)[0]
    assert "/a.crt expired on" in str(tls.complaint(PAIR, seen, NOW + timedelta(days=11)))
    assert not tls.advice(PAIR, seen, NOW + timedelta(days=11))


def test_not_a_certificate(tmp_path: Path) -> None:
    (tmp_path / "crt").write_text("hello")
    seen = look(tmp_path / "crt", "a.test")
    assert "openssl cannot read" in str(tls.complaint(PAIR, seen, NOW))
    assert tls.must_generate(seen, NOW)


def test_only_another_content_counts() -> None:
    loaded = {"/a.crt": "1", "/a.key": "2", "/others.crt": "3"}
    assert tls.parse_digests(tls.digests_file(loaded)) == loaded
    assert tls.other({"/a.crt": "1", "/a.key": "2"}, loaded) is None
    assert tls.other({"/a.crt": "1", "/a.key": "9"}, loaded) == "/a.key"
    assert tls.other({"/a.crt": "1", "/new.crt": "3"}, loaded) == "/new.crt"


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '"x"'])
def test_a_damaged_record_counts_as_missing(content: str) -> None:
    assert tls.parse_digests(file(content)) == {} == tls.parse_digests(None)
