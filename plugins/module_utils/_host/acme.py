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


def try_now(server_names: Iterable[str]) -> None:
    """Let mod_md begin. Without the record of an error it does not wait."""
    for name in server_names:
        files.remove(acme.job_path(name))
    Service.read().load("reload")
