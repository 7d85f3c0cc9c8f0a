# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What mod_md says of its certificates by ACME, and what to say about it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._apache.certificates import Pair, Seen
from ansible_collections.carrel.jupyter.plugins.module_utils._report import printable

STORE = "/etc/apache2/md"
LOG = "/var/log/apache2/error.log"
LONGEST_JOB = 2**20  # bytes


@dataclass(frozen=True)
class Job:
    """A try to get a certificate. Apache's processes write about it, so it may say anything."""

    begun: bool = True
    errors: bool = False
    setup: bool = False  # whether no challenge could be set up
    contact: bool = False  # whether the authority did not answer
    text: str = ""

    @property
    def is_idle(self) -> bool:
        """Whether mod_md has not begun to get a certificate, or waits after an error.

        A reload after an error makes it forget that, but not how long it wanted to wait, which can be a day. And a
        mod_md that a reload has loaded takes that for a test of the configuration. In both cases it begins at the next
        reload.
        """
        return self.errors or not self.begun


def pair(server_name: str, subdomains: bool) -> Pair:
    """Where mod_md keeps what Apache has loaded."""
    folder = f"{STORE}/domains/{server_name.lower()}"
    return Pair(server_name, f"{folder}/pubcert.pem", f"{folder}/privkey.pem", subdomains=subdomains)


def job_path(server_name: str) -> str:
    return f"{STORE}/staging/{server_name.lower()}/job.json"


def issued(seen: Seen, now: datetime) -> bool:
    good = not seen.problem and seen.matches_name and seen.matches_subdomains
    return good and seen.not_after is not None and seen.not_after > now


def read_job(content: bytes | None) -> Job:
    if content is None:
        return Job(begun=False)
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return Job()
    job = found if isinstance(found, dict) else {}
    last = job["last"] if isinstance(job.get("last"), dict) else {}
    detail = printable.line(last.get("detail") or "")
    contact = detail.startswith("Unsuccessful in contacting ACME server")
    parts = [printable.line(last.get("activity") or ""), _short(detail)]
    if contact and last.get("status") != 20014:  # "internal error": mod_md's for all that has no number
        parts.append(printable.line(last.get("status-description") or ""))
    return Job(
        errors=bool(job.get("errors")),
        setup=last.get("problem") == "challenge-setup-failure",
        contact=contact,
        text=": ".join(filter(None, parts)),
    )


def _short(detail: str) -> str:
    """Without mod_md's general advice, which is the same whatever has happened."""
    for general in (" If this problem persists", " Please check the log for errors"):
        detail = detail.partition(general)[0]
    return detail.rstrip(". ")


def missing(pair: Pair, job: Job, settings: Mapping[str, Any], bad_ca: str | None) -> str:
    """Why a name has no certificate, and what to do. SETTINGS are the module's parameters."""
    names = pair.server_name + (f" and *.{pair.server_name}" if pair.subdomains else "")
    if not job.errors:
        at = f" Apache is at: {job.text}." if job.text else ""
        why = f"no certificate within {settings['seconds']} s.{at} Wait, and run again."
    else:
        why = f"no certificate. {job.text or 'The last try failed'}. {bad_ca or _advice(pair, job, settings)}"
    return f"{names}: {why} Until there is one, Apache answers 503 there. It tries again by itself, and in each run."


def not_renewed(pair: Pair, seen: Seen, job: Job, settings: Mapping[str, Any], bad_ca: str | None) -> str | None:
    if not job.errors or seen.not_after is None:
        return None
    return (
        f"{pair.server_name}: the certificate ends on {seen.not_after:%Y-%m-%d}, and Apache could not renew it. "
        f"{job.text}. {bad_ca or _advice(pair, job, settings)}"
    )


def _advice(pair: Pair, job: Job, settings: Mapping[str, Any]) -> str:
    if job.contact:
        return (
            f"This host must reach {settings['directory']}, and trust its certificate: if the host does not know who "
            "issued that, apache_acme_ca_file must have the issuer's certificate, readable by www-data."
        )
    if job.setup and pair.subdomains:
        return f"See {LOG} for what apache_acme_dns01_command printed, and its exit code. Apache runs it as www-data."
    record = f" and find the TXT record of _acme-challenge.{pair.server_name}" if pair.subdomains else ""
    return f"The authority must reach port 80 of {pair.server_name}{record}. Its answer is in {LOG}."
