# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decide for the module site_health which address to ask, and what an answer means."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

TEMPORARY = b"Apache Managed Domain Fallback"  # the name in the certificate that mod_md makes meanwhile


@dataclass(frozen=True)
class Target:
    """A request to a site, from its URL. The connection may go to another address."""

    tls: bool
    host: str
    port: int
    host_header: str
    path: str

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self.host_header}{self.path}"


@dataclass(frozen=True)
class Seen:
    """The result of one try: a status with its body, or why there is none."""

    status: int | None = None
    body: bytes = b""
    error: str = ""
    kind: str = ""  # refused | tls | timeout | other
    certificate: bytes = b""  # the server's, in DER

    def __str__(self) -> str:
        return self.error if self.status is None else f"status {self.status}"


def target(url: str, path: str) -> Target:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"url: {url!r}: {error}.") from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"url: {url!r} is not like https://example.org/tao/.")
    base = parts.path if parts.path.endswith("/") else parts.path + "/"
    return Target(
        tls=parts.scheme == "https",
        host=parts.hostname,
        port=port or (443 if parts.scheme == "https" else 80),
        host_header=parts.netloc.rpartition("@")[2],
        path=base + path.lstrip("/"),
    )


def version(body: bytes) -> str | None:
    """Return the version in the JSON with which jupyter_server and JupyterHub answer at `api`."""
    try:
        answer = json.loads(body)
    except ValueError:
        return None
    found = answer.get("version") if isinstance(answer, dict) else None
    return found if isinstance(found, str) else None


def advice(seen: Seen, connect_to: str, asked: Target) -> str:
    """Return advice for the last result."""
    if seen.kind == "refused":
        return f"Nothing listens on {connect_to}:{asked.port}: is Apache running ('systemctl status apache2')?"
    if "CERTIFICATE_VERIFY_FAILED" in seen.error:
        return "The certificate must be for this name and its CA known to the host, or validate_certs be false."
    if seen.kind == "tls":
        return f"What listens on port {asked.port} does not speak TLS: does the URL have the right port?"
    if seen.kind == "timeout" or seen.status == 504:
        return "The server accepts connections but does not answer: look at its log and at the load of the host."
    if seen.status == 503 and TEMPORARY in seen.certificate:
        return "Apache has no certificate by ACME for this name yet: read /var/log/apache2/error.log."
    if seen.status in (502, 503):
        return "Apache answers, the server behind it does not: read its log (docker compose logs)."
    if seen.status == 421:
        return f"Apache has no virtual host for {asked.host} on port {asked.port}."
    if seen.status in (401, 403, 404):
        return f"Something answers, but not the expected server at {asked.path}: compare its base_url with the URL."
    return "Read /var/log/apache2/error.log and the log of the server behind it."


def failure(asked: Target, connect_to: str, seconds: float, tries: int, seen: Seen, expected: Sequence[int]) -> str:
    wanted = " or ".join(str(status) for status in expected)
    return (
        f"{asked.url} did not answer with status {wanted} within {seconds:.0f} s ({tries} tries through {connect_to}). "
        f"Last seen: {seen}. {advice(seen, connect_to, asked)}"
    )
