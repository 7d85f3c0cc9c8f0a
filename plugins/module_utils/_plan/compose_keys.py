# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys that people copy from compose files, and the keys to use here."""

from __future__ import annotations

import re

# Keys of a service (compose-spec, 05-services.md). Some have no counterpart here: without an entry, the message would
# suggest a key that only looks alike.
INSTEAD: dict[str, str] = {
    **dict.fromkeys(
        ("ports", "expose"), "leave it out: Apache serves the instance at url, and asks it at port on 127.0.0.1"
    ),
    "restart": "leave it out: the container starts again by itself, also after a reboot",
    "container_name": "write name",
    "hostname": "leave it out, or write the host's name in url",
    "env_file": "write environment",
    "entrypoint": "write command, which the image's entry point runs",
    "working_dir": "write notebooks, or home for a hub",
    "mem_limit": "write memory, for a hub in limits",
    "memswap_limit": "write swap in limits of a hub; a lab has none",
    "pids_limit": "write pids, for a hub in limits",
    "deploy": "write memory, cpus and pids, for a hub in limits; graphics cards in devices, by their CDI names",
    **dict.fromkeys(("gpus", "runtime"), "write the CDI names of the cards in devices, for example [nvidia.com/gpu=0]"),
    "pull_policy": "write pull: missing or pull: always",
    "tmpfs": "leave it out; to keep a folder write persist",
    "secrets": "write password or token, or environment with a variable from a vault",
    **dict.fromkeys(
        (
            "cap_add", "cap_drop", "configs", "depends_on", "dns", "domainname", "extra_hosts", "healthcheck", "init",
            "ipc", "labels", "links", "logging", "mem_reservation", "network_mode", "networks", "privileged",
            "profiles", "read_only", "security_opt", "stdin_open", "stop_grace_period", "stop_signal", "sysctls",
            "tty",
        ),
        "leave it out: the collection decides it",
    ),
}  # fmt: skip

_FOLDER = re.compile(r"[A-Za-z0-9._/-]+")


def volume_hint(text: str) -> str:
    """Return what to write instead of SOURCE:TARGET[:ro]."""
    source, _unused, rest = text.partition(":")
    target, _unused, mode = rest.partition(":")
    if not _FOLDER.fullmatch(source) or not _FOLDER.fullmatch(target) or not target.startswith("/"):
        return "a mapping, for example {source: /data/maps, target: /home/jovyan/maps, read_only: true}"
    if source.startswith("/"):
        return f"{{source: {source}, target: {target}{', read_only: true' if 'ro' in mode.split(',') else ''}}}"
    name = re.sub(r"[^a-z0-9]+", "-", source.lower()).strip("-") or "data"
    return f"notebooks: {target} or persist: {{{name}: {target}}} for a folder that is kept, instead of this"
