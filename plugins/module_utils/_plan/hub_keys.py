# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every key of a hub: how it is read, and what it is when nobody says anything."""

from __future__ import annotations

import dataclasses
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._plan import hub_values, values
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.hub_authenticator import (
    Authenticator,
    read_authenticator,
)
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.keys import COMMON, Instance
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.schema import (
    Reader,
    boolean,
    choice,
    listing,
    text,
    whole,
)

HUB: dict[str, Reader] = {
    **COMMON,
    "images": hub_values.images,
    "home": values.container_path,
    "persist": values.persist(),
    "environment": values.environment(hub_values.reserved),
    "backend": choice("directories", "volumes"),
    "prune": choice("keep", "archive"),
    "allow_no_users": boolean,
    "authenticator": read_authenticator,
    "normalize_usernames": boolean,
    "users": hub_values.users,
    "users_csv": hub_values.files,
    "blocked_users": listing(text("a name in quotes"), "a list of names"),
    "groups": hub_values.groups,
    "shared": boolean,
    "colab": boolean,
    "users_view": choice("none", "ro", "rw"),
    "targets": listing(values.container_path, "a list of folders in the container"),
    "limits": hub_values.limits,
    "culler": hub_values.culler,
    "shutdown_on_logout": boolean,
    "default_url": hub_values.default_url,
    "concurrent_spawns": whole(1, 1000),
    "active_servers": whole(0, 100000),
    "spawn_timeout_seconds": whole(1, 3600),
    "http_timeout_seconds": whole(1, 3600),
    "database": hub_values.database,
    "settings": hub_values.settings,
}


@dataclasses.dataclass
class Hub(Instance):
    command: Any = dataclasses.field(default_factory=lambda: ["jupyterhub-singleuser"])
    images: Any = None
    home: Any = "/home/jovyan/work"
    persist: Any = None
    backend: Any = "directories"
    prune: Any = "keep"
    allow_no_users: Any = False
    authenticator: Any = dataclasses.field(default_factory=lambda: Authenticator({"type": "native", "signup": False}))
    normalize_usernames: Any = False
    users: Any = dataclasses.field(default_factory=list)
    users_csv: Any = dataclasses.field(default_factory=list)
    blocked_users: Any = dataclasses.field(default_factory=list)
    groups: Any = dataclasses.field(default_factory=dict)
    shared: Any = True
    colab: Any = True
    users_view: Any = "none"
    targets: Any = dataclasses.field(default_factory=list)
    limits: Any = dataclasses.field(default_factory=lambda: dict.fromkeys(hub_values.LIMITS))
    culler: Any = dataclasses.field(default_factory=lambda: dict(hub_values.CULLER))
    shutdown_on_logout: Any = False
    default_url: Any = "/lab"
    concurrent_spawns: Any = 20
    active_servers: Any = 0
    spawn_timeout_seconds: Any = 60
    http_timeout_seconds: Any = 60
    database: Any = dataclasses.field(default_factory=lambda: {"type": "sqlite", "image": None})
    settings: Any = dataclasses.field(default_factory=dict)
    # What follows from users, users_csv, groups and limits: as the result has it.
    people: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    teams: list[dict[str, Any]] = dataclasses.field(default_factory=list)

    @property
    def memory_limit(self) -> int:
        """Of the servers that can run at once. Who is not listed counts only where active_servers limits the number."""
        sizes = sorted((user["memory"] or 0 for user in self.people), reverse=True)
        if not self.active_servers:
            return sum(sizes)
        if self.authenticator.open or not sizes:
            sizes = sorted(sizes + [self.limits["memory"] or 0] * self.active_servers, reverse=True)
        return sum(sizes[: self.active_servers])
