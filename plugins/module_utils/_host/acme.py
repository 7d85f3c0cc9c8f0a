# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read what mod_md keeps on the host, and let it try again. The room _apache decides."""

from __future__ import annotations

import ssl
from collections.abc import Iterable

from ansible_collections.carrel.jupyter.plugins.module_utils._apache import acme
from ansible_collections.carrel.jupyter.plugins.module_utils._host import files
from ansible_collections.carrel.jupyter.plugins.module_utils._host.apache import Service


def job(server_name: str) -> acme.Job:
    try:
        found = files.read(acme.job_path(server_name), acme.LONGEST_JOB)
    except files.UnsafePathError as error:
        return acme.Job(errors=True, text=str(error))
    return acme.read_job(found.content if found else None)


def bad_ca(path: str) -> str | None:
    """Why no authority can be trusted with this file."""
    try:
        ssl.create_default_context(cafile=path or None)
    except OSError as error:  # ssl.SSLError is one, too
        return f"apache_acme_ca_file: {path} has no certificate that can be read: {error.strerror or error}."
    return None


def is_idle(server_name: str) -> bool:
    """Whether mod_md has not begun to get a certificate, or waits after an error.

    A reload after an error makes it forget that, but not how long it wanted to wait, which can be a day. And a mod_md
    that a reload has loaded takes that for a test of the configuration. In both cases it begins at the next reload.
    """
    found = job(server_name)
    return found.errors or not found.begun


def try_now(server_names: Iterable[str]) -> None:
    """Let mod_md begin. Without the record of an error it does not wait."""
    for name in server_names:
        files.remove(acme.job_path(name))
    Service.read().load("reload")
