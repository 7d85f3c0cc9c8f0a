# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the apache_sites module decides about certificates."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from ansible_collections.carrel.jupyter.plugins.module_utils._apache.sites import Node, file
from ansible_collections.carrel.jupyter.plugins.module_utils._changes.file import File

RENEW_BEFORE = timedelta(days=30)
VALID_DAYS = 825


@dataclass(frozen=True)
class Pair:
    """A certificate, its key and the name that it is for; with SUBDOMAINS those directly below it, too."""

    server_name: str
    certificate: str
    private_key: str
    self_signed: bool = False
    subdomains: bool = False

    @property
    def names(self) -> list[str]:
        """What the certificate must be good for; the second one stands for any name that a user may have."""
        return [self.server_name, *([f"carrel.{self.server_name}"] if self.subdomains else [])]


@dataclass(frozen=True)
class Seen:
    """What was found on the host. `problem` is the reason why Apache could not use the pair."""

    problem: str | None = None
    missing: bool = False
    not_after: datetime | None = None
    matches_name: bool = True
    matches_subdomains: bool = True


def is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def check_arguments(server_name: str) -> list[str]:
    """Options of `openssl x509` that print what read_check reads."""
    option = "-checkip" if is_address(server_name) else "-checkhost"
    return ["-noout", "-enddate", "-dateopt", "iso_8601", option, server_name.strip("[]")]


def read_check(output: str) -> Seen:
    match = re.search(r"notAfter=(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)Z", output)
    if not match:
        return Seen(problem=f"openssl cannot read the certificate: {output.strip()}")
    not_after = datetime.strptime(match.group(1), "%Y-%m-%d %H:%M:%S").replace(tzinfo=timezone.utc)
    return Seen(not_after=not_after, matches_name="does NOT match" not in output)


def must_generate(seen: Seen, now: datetime) -> bool:
    """Whether a self-signed pair has to be generated (again)."""
    if seen.problem or not seen.matches_name or not seen.matches_subdomains or not seen.not_after:
        return True
    return seen.not_after < now + RENEW_BEFORE


def complaint(pair: Pair, seen: Seen, now: datetime) -> str | None:
    """Why a pair that the administrator supplies cannot be used."""
    if seen.problem:
        return f"{pair.server_name}: {seen.problem}"
    if seen.not_after and seen.not_after <= now:
        return (
            f"{pair.server_name}: {pair.certificate} expired on {seen.not_after:%Y-%m-%d}: install a new certificate."
        )
    return None


def domains_complaint(pair: Pair, seen: Seen) -> str | None:
    """Why a pair that Apache can load is of no use to people whose servers have names of their own."""
    if seen.problem or not pair.subdomains or seen.matches_subdomains:
        return None
    return (
        f"{pair.certificate} is not for the names of users' servers below {pair.server_name}: install one for "
        f"{pair.server_name} and *.{pair.server_name}, or leave user_domains out."
    )


def advice(pair: Pair, seen: Seen, now: datetime) -> list[str]:
    """Warnings: a certificate for another name, or one that ends soon."""
    found = []
    if not seen.matches_name:
        found.append(f"{pair.server_name}: {pair.certificate} is for other names; browsers will refuse it.")
    if seen.not_after and now < seen.not_after < now + timedelta(days=14):
        found.append(f"{pair.server_name}: {pair.certificate} expires on {seen.not_after:%Y-%m-%d}.")
    return found


def parse_digests(node: Node) -> dict[str, str]:
    """What digests_file wrote; a damaged file counts as missing."""
    try:
        found = json.loads(node.content) if isinstance(node, File) else {}
    except ValueError:
        return {}
    return {str(path): str(digest) for path, digest in found.items()} if isinstance(found, dict) else {}


def digests_file(digests: Mapping[str, str]) -> File:
    return file(json.dumps(digests, indent=1, sort_keys=True) + "\n", 0o600)


def other(present: Mapping[str, str], loaded: Mapping[str, str]) -> str | None:
    """The first file with another content than the one that was loaded."""
    return next((path for path, digest in present.items() if loaded.get(path) != digest), None)


def request_config(server_name: str, subdomains: bool = False) -> str:
    """The configuration for `openssl req -x509` that makes a certificate for this name, and those directly below it."""
    name = server_name.strip("[]")
    kind = "IP" if is_address(name) else "DNS"
    names = f"{kind}:{name}" + (f",DNS:*.{name}" if subdomains else "")
    return f"""[req]
distinguished_name = dn
x509_extensions = v3
prompt = no
[dn]
CN = {name[:64]}
[v3]
subjectAltName = {names}
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
"""
