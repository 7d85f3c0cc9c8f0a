# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the playbook move asks of the program carrel-backup, and what it tells people."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._shared.disk import size
from ansible_collections.carrel.jupyter.plugins.module_utils._site.backup import on_host

STATE_DIRECTORY = "/var/lib/carrel/{}/move"
RUN_DIRECTORY = "/run/carrel/move/{}"
DEADLINE_SECONDS = 24 * 60 * 60
CERTIFICATE = re.compile(r"^-----BEGIN CERTIFICATE-----$.+?^-----END CERTIFICATE-----$", re.MULTILINE | re.DOTALL)
DONE = 0  # the program's exit code


def settings(job: Mapping[str, Any], engines: Mapping[str, Any], host: str) -> dict[str, Any]:
    """Return what the program knows of the instance of a backup job, but the password. Raises ValueError."""
    name, engine = job["name"], engines.get(job["engine"]) or {"uid": None}
    if engine["uid"] is None or not engine["subuid"] or not engine["subgid"]:
        raise ValueError(f"the engine {job['engine']}, or its range of subordinate ids, is not on {host}")
    state = STATE_DIRECTORY.format(name)
    return {
        **{key: job[key] for key in ("name", "kind", "directory", "token_file")},
        **on_host(job, engine, host),
        "repository": f"{state}/repository",
        "state_directory": state,
        "run_directory": RUN_DIRECTORY.format(name),
        "exclude": [],
        "keep": {},
        "append_only": False,
        "deadline_seconds": DEADLINE_SECONDS,
        "environment": {},
    }


def hosts_of(name: str, plans: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The hosts that declare the instance, and from which it was not moved."""
    found = {host: (plan.get("entries") or {}).get(name) for host, plan in plans.items()}
    return [host for host, entry in found.items() if entry is not None and not entry.get("moved_to")]


def problem(name: str, target: str, hosts: Sequence[str], known: Sequence[str]) -> str:
    """Why there is nothing that could be moved; empty if there is."""
    if not hosts:
        return f"no host of the inventory declares {name}"
    if len(hosts) > 1:
        return f"{' and '.join(hosts)} declare {name}; declare it on the one that has it, and run again"
    if target not in known:
        return f"the inventory has no host {target}"
    return ""


def room(needed: int, source_free: int, target_free: int, source: str, target: str) -> str:
    """What is missing for the copy that goes over, and at the new host for the instance, too; empty if nothing is."""
    for host, factor, free in ((source, 1, source_free), (target, 2, target_free)):
        if factor * needed > free:
            return f"{host} has {size(free)} free, and up to {size(factor * needed)} are needed: make room first"
    return ""


def elsewhere(name: str, gone: str, address: str) -> str:
    """Why it can't move to this address: where it has GONE before, if that is another one. Empty if it can."""
    if not gone or gone == address:
        return ""
    return f"{name} was moved to {gone} already: write that into the inventory, then move it from there"


def certificates(text: str) -> str:
    """The certificates of a file in PEM, which may have the private key, too."""
    return "".join(f"{found}\n" for found in CERTIFICATE.findall(text.replace("\r\n", "\n")))


def advice(name: str, source: str, target: str, address: str) -> list[str]:
    """What the inventory must say from now on."""
    return [
        f"{name} is on {target} now, and {source} forwards its requests there. Write that into the inventory:",
        f"1. Copy the entry {name} of jupyter_instances from {source} to {target}, and the variables that it uses.",
        f"2. Add to the entry of {source}: moved_to: {address}",
        f"3. Change its DNS record to {target}. When no more requests come through {source}, write state: absent "
        "there.",
        f"Until 1 and 2 are done, the site playbook refuses {source} and {target}.",
    ]
