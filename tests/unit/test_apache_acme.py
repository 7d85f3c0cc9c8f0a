# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What mod_md says, as it was seen with Pebble; tests/platforms/test_acme.py has both at work."""

from __future__ import annotations

import json
import shutil
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.carrel.jupyter.plugins.module_utils._apache import acme, refusals
from ansible_collections.carrel.jupyter.plugins.module_utils._apache.certificates import Seen
from ansible_collections.carrel.jupyter.plugins.module_utils._host import acme as host
from ansible_collections.carrel.jupyter.plugins.module_utils._host.apache_pairs import generate
from ansible_collections.carrel.jupyter.plugins.modules import acme_certificates
from hypothesis import given
from hypothesis import strategies as st

NOW = datetime(2026, 11, 26, tzinfo=timezone.utc)
GOOD = Seen(not_after=NOW + timedelta(days=60))
LAB, HUB = acme.pair("Tao.test", False), acme.pair("class.test", True)
SETTINGS = {"directory": "https://acme.test/dir", "seconds": 120}
DETAIL = "None of the offered challenge types class.test offered for domain dns-01 could be setup successfully. "
SETUP = {
    "status": 20014, "status-description": "Internal error (specific information not available)",
    "problem": "challenge-setup-failure", "detail": DETAIL + "Please check the log for errors.",
    "activity": "Setting up challenge 'dns-01' for domain class.test",
}  # fmt: skip
CONTACT = {
    "status": 111, "status-description": "Connection refused",
    "detail": "Unsuccessful in contacting ACME server at <https://acme.test/dir>. If this problem persists, check…",
    "activity": "Contacting ACME server for tao.test at https://acme.test/dir",
}  # fmt: skip
INVALID = {
    "status": 22, "status-description": "Invalid argument", "detail": "Error waiting on domain names to be validated",
    "activity": "Monitoring challenge status for class.test",
}  # fmt: skip


def job(last: dict[str, Any], errors: int = 1) -> acme.Job:
    return acme.read_job(json.dumps({"errors": errors, "last": last}).encode())


def test_where_mod_md_keeps_things() -> None:
    assert LAB.certificate == "/etc/apache2/md/domains/tao.test/pubcert.pem"
    assert acme.job_path("Tao.test") == "/etc/apache2/md/staging/tao.test/job.json"


@pytest.mark.parametrize(
    ("seen", "issued"),
    [
        (GOOD, True),
        (Seen(problem="the certificate cannot be read", missing=True), False),
        (Seen(not_after=NOW), False),
        (Seen(not_after=GOOD.not_after, matches_name=False), False),
        (Seen(not_after=GOOD.not_after, matches_subdomains=False), False),  # user_domains is new
    ],
)
def test_a_certificate_is_there_once_it_is_good_for_all_names(seen: Seen, issued: bool) -> None:
    assert acme.issued(seen, NOW) is issued


def test_a_command_that_failed() -> None:
    said = acme.missing(HUB, job(SETUP), SETTINGS, None)
    assert said.startswith(
        "class.test and *.class.test: no certificate. Setting up challenge 'dns-01' for domain class.test: None"
    )
    assert "See /var/log/apache2/error.log for what apache_acme_dns01_command printed" in said and "www-data" in said
    assert "Please check the log" not in said


def test_an_authority_that_does_not_answer() -> None:
    said = acme.missing(LAB, job(CONTACT), SETTINGS, None)
    assert (
        "ACME server at <https://acme.test/dir>: Connection refused. This host must reach https://acme.test/dir" in said
    )
    unknown = acme.missing(LAB, job({**CONTACT, "status": 20014}), SETTINGS, None)
    assert "Connection refused" not in unknown and "apache_acme_ca_file must have the issuer's certificate" in unknown
    assert "apache_acme_ca_file: /none" in acme.missing(LAB, job(CONTACT), SETTINGS, host.bad_ca("/none"))


def test_an_authority_that_refuses() -> None:
    said = acme.missing(HUB, job(INVALID), SETTINGS, None)
    assert "must reach port 80 of class.test and find the TXT record of _acme-challenge.class.test." in said
    assert "TXT" not in acme.missing(LAB, job(INVALID), SETTINGS, None)


def test_one_that_takes_longer() -> None:
    said = acme.missing(LAB, job({"activity": "Waiting for order to become ready"}, errors=0), SETTINGS, None)
    assert "no certificate within 120 s. Apache is at: Waiting for order to become ready. Wait, and run again." in said
    assert "within 120 s. Wait" in acme.missing(LAB, acme.Job(), SETTINGS, None)


def test_a_renewal_that_fails_is_told_with_the_end_of_the_old_certificate() -> None:
    said = acme.not_renewed(LAB, GOOD, job(CONTACT), SETTINGS, None)
    assert said and said.startswith(
        "Tao.test: the certificate ends on 2027-01-25, and Apache could not renew it. Contacting"
    )
    assert acme.not_renewed(LAB, GOOD, acme.Job(), SETTINGS, None) is None


@given(
    st.recursive(
        st.none() | st.integers() | st.text(), lambda inner: st.dictionaries(st.text(), inner) | st.lists(inner)
    )
)
def test_whatever_is_in_the_file_is_read(found: Any) -> None:
    for content in (found, {"last": found, "errors": found}, {"last": {"detail": found, "activity": found}}):
        assert acme.read_job(json.dumps(content).encode()).text.isprintable()


def test_what_cannot_be_read_is_no_job() -> None:
    assert acme.read_job(None) == acme.Job(begun=False)
    for content in (b"", b"{", b"[" * 100_000, b"\xff"):
        assert acme.read_job(content) == acme.Job()


def test_root_follows_no_link_of_apaches_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acme, "STORE", str(tmp_path))
    assert host.job("tao.test").is_idle
    (tmp_path / "staging").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/job.json").write_text(json.dumps({"errors": 1, "last": CONTACT}))
    (tmp_path / "staging/tao.test").symlink_to(tmp_path / "elsewhere")
    assert "symbolic link" in host.job("tao.test").text
    (tmp_path / "staging/tao.test").unlink()
    (tmp_path / "elsewhere").rename(tmp_path / "staging/tao.test")
    assert host.job("tao.test").contact and host.job("tao.test").is_idle
    (tmp_path / "staging/tao.test/job.json").write_text(json.dumps({"last": {"activity": "Creating a new order"}}))
    assert not host.job("tao.test").is_idle


@pytest.mark.parametrize(
    ("jobs", "tries"),
    [
        ({}, ["new.test", "tao.test"]),  # the first run: there is nothing yet
        ({"tao.test": {"errors": 1, "last": CONTACT}}, ["new.test", "tao.test"]),
        ({"tao.test": {"last": {"activity": "Creating a new order"}}}, ["new.test"]),
        ({name: {"last": {"activity": "Creating a new order"}} for name in ("tao.test", "new.test")}, []),
        ({"good.test": {"errors": 3, "last": CONTACT}, "new.test": {"last": {}}}, ["tao.test"]),
    ],
)
def test_check_mode_says_whether_apache_would_try_again(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    jobs: dict[str, Any],
    tries: list[str],
) -> None:
    """Apache, which is not here, is a mock."""
    tried: list[str] = []
    monkeypatch.setattr(acme, "STORE", str(tmp_path))
    monkeypatch.setattr(host, "try_now", tried.extend)
    good = acme.pair("good.test", False)
    made = generate(str(tmp_path), good)
    Path(good.certificate).parent.mkdir(parents=True)
    for source, target in ((made.certificate, good.certificate), (made.private_key, good.private_key)):
        shutil.copy(source, target)
    for name, content in jobs.items():
        path = Path(acme.job_path(name))
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(content))

    def answer(check: bool) -> dict[str, Any]:
        given = {"names": ["good.test", "new.test", "tao.test"], "directory": "https://acme.test", "seconds": 0}
        with patch_module_args({**given, "_ansible_check_mode": check}), pytest.raises(SystemExit) as ended:
            acme_certificates.main()
        assert ended.value.code == 0
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        return found

    said = answer(check=True)
    assert (said["changed"], said["missing"], tried) == (bool(tries), [], [])
    done = answer(check=False)
    assert (done["changed"], len(done["missing"]), tried) == (bool(tries), 2, tries)


def test_the_report_has_them_after_the_refused_sites() -> None:
    assert refusals.report([], [], ["a: none.", "b: none."]).split("\n\n")[1:] == ["a: none.", "b: none."]
