# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What instance_status reads of an instance that is well."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._report import status

NOW = datetime(2030, 1, 10, 12, 0, tzinfo=timezone.utc)
TAG = "registry.example.org/lab:1.0"
ID, DIGEST = "sha256:164a96f1e58d" + "0" * 52, "sha256:d044015f3797" + "0" * 52


def container(name: str = "tao-lab-1-1", **changes: Any) -> dict[str, Any]:
    return {
        "name": name,
        "service": "lab-1",
        "state": "running",
        "health": "healthy",
        "since": "2030-01-10T00:25:31.120283739Z",
        "image": TAG,
        "image_id": ID,
        "digest": DIGEST,
        "as_tagged": True,
        **changes,
    }


def site(days_left: int = 60, **changes: Any) -> dict[str, Any]:
    ends = {"ends": (NOW + timedelta(days=days_left)).isoformat(), "days_left": days_left}
    return {"answers": True, "status": 200, "milliseconds": 31, "error": None, "certificate": ends, **changes}


def refused() -> dict[str, Any]:
    return site(answers=False, status=503, error="status 503. Apache answers, the server behind it does not.")


def reset(result: str = "done", **changes: Any) -> dict[str, Any]:
    return {
        "result": result,
        "step": "prune",
        "message": "done",
        "started": "2030-01-10T00:24:50+00:00",
        "ended": "2030-01-10T00:25:40+00:00",
        "warnings": [],
        "put_off": 0,
        **changes,
    }


def schedule(since: str = "2029-12-01T10:00:00+00:00") -> dict[str, Any]:
    return {"at": "01:25", "timezone": "Europe/Berlin", "next": "2030-01-11T01:25:00+01:00", "since": since}


def disk(**changes: Any) -> dict[str, Any]:
    return {
        "directory_bytes": 1_200_000_000,
        "images_bytes": 569_346_289,
        "free_bytes": 65_000_000_000,
        "used_percent": 40,
        "files_percent": 10,
        "engine": None,
        "notes": [],
        **changes,
    }


def found(**changes: Any) -> dict[str, Any]:
    """An instance as it is read, before anything is judged."""
    return {
        "name": "tao",
        "kind": "lab",
        "state": "present",
        "url": "https://example.org/tao/",
        "directory": "/srv/tao",
        "own": [],
        "site": site(),
        "engine": {"name": "tao", "running": True, "error": None, "replaced": []},
        "ports": {"taken": [], "open": []},
        "containers": [container()],
        "images": None,
        "reset": reset(),
        "schedule": schedule(),
        "backup": None,
        "users": None,
        "disk": disk(),
        "unreadable": [],
        **changes,
    }


def instance(**changes: Any) -> dict[str, Any]:
    return status.examine(found(**changes), NOW)


def fleet() -> dict[str, dict[str, Any]]:
    """Hosts with something of everything."""
    hub = [
        container(f"class-{name}-1", service=name, image="carrel/hub:f28f085e4f78", digest=None)
        for name in ("hub", "proxy")
    ]
    users = {"known": 40, "servers": 12}
    images = [{"image": TAG, "image_id": ID, "digest": DIGEST}]
    put_off = reset("put off", put_off=3, message="2 kernels were busy at the deadline")
    failed = reset("failed", step="start", message="the new server was not healthy within 120 s; the old one runs on")
    return {
        "geo1.example.org": {
            "instances": [
                instance(name="atlas", url="https://geo1.example.org/atlas/", site=refused(), reset=failed),
                instance(url="https://geo1.example.org/tao/"),
            ]
        },
        "geo2.example.org": {
            "instances": [
                instance(
                    name="class", kind="hub", url="https://class.example.org/", containers=hub, users=users,
                    images=images, reset=put_off, site=site(9, milliseconds=64),
                    disk=disk(directory_bytes=48_000_000_000),
                ),
                instance(name="field", state="held", url="https://geo2.example.org/field/", site=None, containers=[]),
            ]
        },
        "geo3.example.org": {"unreachable": True, "msg": "Failed to connect to the host via ssh: Connection timed out"},
        "new.example.org": {"instances": []},
    }  # fmt: skip
