# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Collect metrics on the host: carrel-metrics writes files that Prometheus' node exporter publishes."""

from __future__ import annotations

import json
import os
import pwd
import signal
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from types import FrameType
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._changes.file import File
from ansible_collections.carrel.jupyter.plugins.module_utils._host import files
from ansible_collections.carrel.jupyter.plugins.module_utils._host.disk_usage import subdirectories_bytes
from ansible_collections.carrel.jupyter.plugins.module_utils._host.instance_status import collect, left
from ansible_collections.carrel.jupyter.plugins.module_utils._report import metrics
from ansible_collections.carrel.jupyter.plugins.module_utils._shared.escape import unescape

SETTINGS = "etc/carrel/monitoring.json"
GROUP = "sys/fs/cgroup/user.slice/user-{}.slice/memory.current"
SECONDS = 55 * 60  # for one run; the unit's TimeoutStartSec is longer
USAGE = "usage: carrel-metrics health|disk"


def main(arguments: Sequence[str], root: str = "/") -> int:
    if list(arguments) not in (["health"], ["disk"]):
        sys.stderr.write(f"{USAGE}\n")
        return 2
    with open(os.path.join(root, SETTINGS), encoding="utf-8") as stream:
        settings = json.load(stream)
    (what,) = arguments
    path = os.path.join(settings["textfile_directory"], f"carrel_{what}.prom")
    signal.signal(signal.SIGTERM, _end)
    try:
        text = text_of(what, settings, root, time.monotonic() + SECONDS)
        files.write(path, File(text.encode("utf-8", "replace")))
    except BaseException:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        # Otherwise Prometheus would see the values of the last good run for ever.
        files.write(path, File(metrics.failed(what).encode("utf-8")))
        raise
    return 0


def _end(number: int, frame: FrameType | None) -> None:
    """No fault of one instance may swallow this one."""
    raise SystemExit("carrel-metrics was told to end, perhaps because it took too long")


def text_of(what: str, settings: Mapping[str, Any], root: str, end: float) -> str:
    """Return the metrics. Nothing is measured after END of the monotonic clock."""
    options = {
        "names": None,
        "connect_to": settings["health_address"],
        "timeout_seconds": settings["timeout_seconds"],
        "disk": what == "disk",
        "drift": what == "health",
        "disk_timeout_seconds": settings["disk_timeout_seconds"],
        "end": end,
    }
    instances = collect(root, options, datetime.now(timezone.utc))
    if what == "health":
        return metrics.health(instances, _memory(instances, root))
    return metrics.disk(instances, _users(instances, settings, root, end), settings["top_users"])


def _memory(instances: Iterable[Mapping[str, Any]], root: str) -> dict[str, int]:
    """Return the memory of each engine. Empty if the kernel does not count it for accounts."""
    found = {}
    for name in {instance["engine"]["name"] for instance in instances if instance["engine"]}:
        try:
            uid = pwd.getpwnam(name).pw_uid
            with open(os.path.join(root, GROUP.format(uid)), encoding="ascii") as stream:
                found[name] = int(stream.read())
        except (KeyError, OSError, ValueError):
            continue
    return dict(sorted(found.items()))


def _users(
    instances: Iterable[Mapping[str, Any]], settings: Mapping[str, Any], root: str, end: float
) -> dict[str, dict[str, int]]:
    """Return the size of users' directories in each hub, by the user's name."""
    found = {}
    for instance in instances:
        folder = os.path.join(root, str(instance["directory"]).lstrip("/"), "data/users")
        if settings["top_users"] and instance["kind"] == "hub" and os.path.isdir(folder):
            sizes = subdirectories_bytes(folder, left(settings["disk_timeout_seconds"], end))
            found[instance["name"]] = {unescape(name) or name: count for name, count in sizes.items()}
    return found
