# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A certificate authority of the test bed's own, and one certificate for its registry and sites."""

from __future__ import annotations

import tempfile
from pathlib import Path

from .run import STATE, run, step

NAMES = ("localhost", "registry.carrel.test", "*.carrel.test", "*.localhost")
CA = STATE / "pki" / "ca.crt"
CERTIFICATE = STATE / "pki" / "site.crt"
KEY = STATE / "pki" / "site.key"


def ensure() -> None:
    """Create the authority and the certificate, unless they are there and good for another week."""
    if CERTIFICATE.exists() and "will not expire" in run(
        "openssl", "x509", "-checkend", "604800", "-in", CERTIFICATE, check=False
    ):
        return
    CA.parent.mkdir(parents=True, exist_ok=True)
    with step("making a certificate authority"), tempfile.TemporaryDirectory() as scratch:
        ca_key, request, extensions = (Path(scratch) / name for name in ("ca.key", "site.csr", "site.ext"))
        curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
        run("openssl", "req", "-x509", *curve, "-days", "90", "-subj", "/CN=carrel test bed", "-keyout", ca_key,
            "-out", CA, "-addext", "keyUsage=critical,keyCertSign,cRLSign")  # fmt: skip
        run("openssl", "req", *curve, "-subj", "/CN=localhost", "-keyout", KEY, "-out", request)
        names = ",".join(f"DNS:{name}" for name in NAMES) + ",IP:127.0.0.1"
        extensions.write_text(f"subjectAltName={names}\nextendedKeyUsage=serverAuth\n")
        run("openssl", "x509", "-req", "-in", request, "-CA", CA, "-CAkey", ca_key, "-CAcreateserial", "-days", "90",
            "-extfile", extensions, "-out", CERTIFICATE)  # fmt: skip
