# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A hub in the plan's result."""

from __future__ import annotations

from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._plan.hub_keys import Hub
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.limits import limits_text
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.values import image_text


def hub_data(hub: Hub) -> dict[str, Any]:
    """What labs don't have, or have in another form."""
    return {
        "images": hub.images or [],
        "home": hub.home,
        "persist": hub.persist or {},
        "backend": hub.backend,
        "prune": hub.prune,
        "allow_no_users": hub.allow_no_users,
        "authenticator": hub.authenticator.public,
        "client_secret": hub.authenticator.client_secret,
        "dummy_password": hub.authenticator.dummy_password,
        "normalize_usernames": hub.normalize_usernames,
        "users": hub.people,
        "blocked_users": hub.blocked_users,
        "groups": hub.teams,
        "shared": hub.shared,
        "colab": hub.colab,
        "users_view": hub.users_view,
        "targets": hub.targets,
        "limits": {**hub.limits, "swap": hub.limits["swap"] or None},
        "culler": hub.culler,
        "shutdown_on_logout": hub.shutdown_on_logout,
        "default_url": hub.default_url,
        "concurrent_spawns": hub.concurrent_spawns,
        "active_servers": hub.active_servers,
        "spawn_timeout_seconds": hub.spawn_timeout_seconds,
        "http_timeout_seconds": hub.http_timeout_seconds,
        "database": hub.database,
        "settings": hub.settings,
    }


def hub_summary(hub: Hub) -> tuple[str, str]:
    """What stands before and after the engine and the port."""
    images = ", ".join(image_text(item["image"]) for item in hub.images)
    before = f"image{'s' if len(hub.images) > 1 else ''} {images}"
    after = [
        f"authenticator {hub.authenticator.type}",
        f"users {len(hub.people)}, groups {len(hub.teams)}",
        f"database {hub.database['type']}",
        f"limits of a user {limits_text(hub.limits)}",
    ]
    return before, "; ".join(after)
