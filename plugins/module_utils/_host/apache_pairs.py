# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check and make certificates with their keys, for the module apache_sites."""

from __future__ import annotations

import os
import shutil
import ssl
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timezone

from ansible_collections.carrel.jupyter.plugins.module_utils._apache import certificates as tls
from ansible_collections.carrel.jupyter.plugins.module_utils._apache.refusals import Refusals
from ansible_collections.carrel.jupyter.plugins.module_utils._apache.sites import ApacheError, Tree, file
from ansible_collections.carrel.jupyter.plugins.module_utils._changes.file import File
from ansible_collections.carrel.jupyter.plugins.module_utils._host.apache import run, write


def look_at(pair: tls.Pair) -> tls.Seen:
    for what, path in (("certificate", pair.certificate), ("private key", pair.private_key)):
        try:
            with open(path, "rb"):
                pass
        except OSError as error:
            problem = f"the {what} {path} cannot be read: {error.strerror}. Put it on the host or correct the path."
            return tls.Seen(problem=problem, missing=isinstance(error, FileNotFoundError))
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(pair.certificate, pair.private_key, lambda: "")
    except (ssl.SSLError, ValueError) as error:
        mismatch = "MISMATCH" in str(error)
        why = "the key does not belong to the certificate" if mismatch else f"not PEM, or with a passphrase ({error})"
        return tls.Seen(problem=f"{pair.certificate} and {pair.private_key} cannot be used: {why}.")
    seen, *below = (_check(pair.certificate, name) for name in pair.names)
    return replace(seen, matches_subdomains=all(each.matches_name for each in below))


def _check(certificate: str, name: str) -> tls.Seen:
    result = run(["openssl", "x509", "-in", certificate, *tls.check_arguments(name)])
    return tls.read_check(result.output + result.errors)


def generate(directory: str, pair: tls.Pair) -> tls.Pair:
    """Make a certificate and its key in the directory."""
    made = tempfile.mkdtemp(dir=directory)
    config, certificate, key = (os.path.join(made, name) for name in ("config", "crt", "key"))
    write(config, file(tls.request_config(pair.server_name, pair.subdomains)))
    command = ["openssl", "req", "-x509", "-config", config, "-days", str(tls.VALID_DAYS), "-sha256", "-nodes"]
    command += ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-keyout", key, "-out", certificate]
    result = run(command)
    if result.code:
        raise ApacheError(f"{pair.server_name}: openssl could not make a certificate: {result.errors.strip()}")
    return replace(pair, certificate=certificate, private_key=key)


class Pairs:
    """The results of checking pairs. A pair that cannot be used is refused with its sites."""

    def __init__(self, stage: str, refusals: Refusals, check_mode: bool, warn: Callable[[str], None]) -> None:
        self.stage = stage
        self.refusals = refusals
        self.check_mode = check_mode
        self.warn = warn
        self.supplied: list[str] = []  # existing files that Apache can load
        self.stand_ins: dict[str, str] = {}
        self.generated: Tree = {}

    def check(self, wanted: Sequence[tls.Pair]) -> None:
        now = datetime.now(timezone.utc)
        unused = []
        for pair in wanted:
            seen = look_at(pair)
            problem = None if pair.self_signed else tls.complaint(pair, seen, now)
            try:
                if pair.self_signed and tls.must_generate(seen, now):
                    self.add_generated(pair)
            except ApacheError as error:
                problem = str(error)
            if problem and seen.missing and self.check_mode:
                self.warn(f"{problem} Without it, the real run does not set up its sites.")
                self.stand_in(pair)
            elif problem:
                if not self.refusals.refuse_pair(pair, problem, loadable=not seen.problem):
                    unused.append(problem)
                if seen.problem:
                    continue
            elif not pair.self_signed and (uncovered := tls.domains_complaint(pair, seen)):
                self.refusals.refuse_subdomains(pair, uncovered)
            self.supplied += [pair.certificate, pair.private_key]
            for text in [] if pair.self_signed else tls.advice(pair, seen, now):
                self.warn(text)
        if unused:
            raise ApacheError(" ".join([*unused, "Nothing was changed."]))

    def stand_in(self, pair: tls.Pair) -> tls.Pair:
        made = generate(self.stage, pair)
        self.stand_ins.update({pair.certificate: made.certificate, pair.private_key: made.private_key})
        return made

    def add_generated(self, pair: tls.Pair) -> None:
        if shutil.which("openssl") is None and self.check_mode:
            self.generated.update({pair.certificate: File(b""), pair.private_key: File(b"", 0o600)})
            return
        made = self.stand_in(pair)
        with open(made.certificate, "rb") as stream:
            self.generated[pair.certificate] = File(stream.read())
        with open(made.private_key, "rb") as stream:
            self.generated[pair.private_key] = File(stream.read(), 0o600)
