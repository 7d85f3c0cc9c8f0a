# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure the disk usage of hubs' users on the host: cron starts carrel-disk, which writes hub/disk.json.

With a quota, the kernel knows the usage. Other folders are measured at night, user after user, with low priority, until
a deadline. The next night begins with those that were measured longest ago. Users whose folders took longer than half
an hour come last.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone

from ansible_collections.carrel.jupyter.plugins.module_utils._changes.file import File
from ansible_collections.carrel.jupyter.plugins.module_utils._host import directories, files, quotas
from ansible_collections.carrel.jupyter.plugins.module_utils._host.disk_usage import directory_bytes
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.facts import parse_instance
from ansible_collections.carrel.jupyter.plugins.module_utils._shared import disk
from ansible_collections.carrel.jupyter.plugins.module_utils._shared.disk import Use
from ansible_collections.carrel.jupyter.plugins.module_utils._shared.escape import unescape

RECORDS, LOCK = "var/lib/carrel", "run/carrel-disk.lock"
USAGE = "usage: carrel-disk all|quotas"
HOURS_A_HUB = 2
SECONDS_A_USER = 1800


def main(arguments: Sequence[str], root: str = "/") -> int:
    if list(arguments) not in (["all"], ["quotas"]):
        sys.stderr.write(f"{USAGE}\n")
        return 2
    with open(os.path.join(root, LOCK), "w", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return 0  # the run of the night is still at work
        failed = False
        for name, directory in _hubs(root):
            try:
                _measure(directory, arguments[0] == "all")
            except Exception as error:  # the other hubs are measured whatever people keep in this one
                sys.stderr.write(f"carrel-disk: {name}: {error}\n")
                failed = True
    return int(failed)


def _hubs(root: str) -> Iterator[tuple[str, str]]:
    records = os.path.join(root, RECORDS)
    for name in sorted(os.listdir(records)) if os.path.isdir(records) else []:
        with contextlib.suppress(ValueError, OSError, files.UnsafePathError):
            record = parse_instance(files.read_text(f"{records}/{name}/instance.json") or "{}")
            if record.get("kind") == "hub":
                yield name, os.path.join(root, str(record.get("directory")).lstrip("/"))


def _measure(directory: str, add_up: bool) -> None:
    users, path = f"{directory}/data/users", f"{directory}/hub/disk.json"
    try:
        base = files.open_directory(users)
    except FileNotFoundError:
        return  # this hub has users' files in volumes
    try:
        names = {unescape(name) or name: name for name in os.listdir(base) if not name.startswith(".")}
        former, late_before = _former(path)
        before = {name: use for name, use in former.items() if name in names}
        now = _by_quota(base, users, names)
        late = [name for name in late_before if name in names and name not in now]
    finally:
        os.close(base)
    if add_up:
        # Users who could not be measured come last. Otherwise a few of them could prevent all other measurements.
        rest = sorted(
            names.keys() - now.keys() - set(late),
            key=lambda name: (before[name].measured if name in before else "", name),
        )
        for name, use in _added_up(users, {name: names[name] for name in [*rest, *late]}):
            late = [other for other in late if other != name]
            if use is None:
                late.append(name)
            else:
                now[name] = use
    found = dict(sorted({**before, **now}.items()))
    if (found, late) != (former, late_before) or not os.path.lexists(path):
        text = json.dumps(disk.content(found, late), indent=1) + "\n"
        files.write(path, File(text.encode("utf-8"), 0o640, 0, os.stat(f"{directory}/hub").st_gid))


def _former(path: str) -> tuple[dict[str, Use], list[str]]:
    """Return who was measured, and who could not be. Empty if the file is damaged; then all are measured again."""
    with contextlib.suppress(ValueError):
        text = files.read_text(path)
        content = parse_instance(text) if text else disk.content({})
        return disk.uses(content), disk.late(content)
    return {}, []


def _by_quota(base: int, users: str, names: dict[str, str]) -> dict[str, Use]:
    """Return usage from quotas. Only a project with a limit has all files."""
    found = {}
    for name, folder in names.items():
        try:
            descriptor = directories.open_child(base, folder, f"{users}/{folder}")
        except (files.UnsafePathError, FileNotFoundError):
            continue  # not a user's folder, or archived meanwhile
        try:
            quota = quotas.examine(descriptor)
        finally:
            os.close(descriptor)
        if quota.own_limit:
            found[name] = Use(quota.used, _now(), quota.files)
    return found


def _added_up(users: str, names: dict[str, str]) -> Iterator[tuple[str, Use | None]]:
    """Yield each user's usage, or None if it took longer than SECONDS_A_USER. Stops at the end of the night's time."""
    end = time.monotonic() + HOURS_A_HUB * 3600
    for name, folder in names.items():
        seconds = min(end - time.monotonic(), SECONDS_A_USER)
        if seconds <= 0:
            return
        count = directory_bytes(f"{users}/{folder}", seconds, [])
        if count is not None or seconds == SECONDS_A_USER:
            yield name, None if count is None else Use(count, _now())


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
