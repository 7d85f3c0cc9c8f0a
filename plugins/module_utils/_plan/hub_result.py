# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A hub in the plan's result."""

from __future__ import annotations

from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._plan.hub_keys import Hub
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.limits import limits_text
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.values import image_text


def hub_data(hub: Hub) -> dict[str, Any]:
    """Return the keys whose form in the result differs from that in the inventory."""
    return {
        "images": hub.images or [],
        "persist": hub.persist or {},
        "authenticator": hub.authenticator.public,
        "client_secret": hub.authenticator.client_secret,
        "dummy_password": hub.authenticator.dummy_password,
        "users": hub.people,
        "held_users": hub.held_users,
        "blocked_identities": hub.blocked_identities,
        "groups": hub.teams,
        "extra_config": hub.extra_files,
        "authenticator_secrets": hub.authenticator.secrets,
        "backups": hub.wanted and hub.backup is not None,
        "provider_groups": {name: group.provider_groups for name, group in hub.groups.items() if group.provider_groups},
        "group_egress": {name: group.egress for name, group in hub.groups.items() if group.egress is not None},
    }


def hub_summary(hub: Hub) -> tuple[str, str]:
    """Return the parts of the summary before and after the engine and the port."""
    images = ", ".join(image_text(item["image"]) for item in hub.images)
    before = f"image{'s' if len(hub.images) > 1 else ''} {images}"
    servers = sum(user["server_of"] is not None for user in hub.people)
    after = [
        f"authenticator {' and '.join(one.type for one in hub.authenticator.single)}",
        f"users {len(hub.people) - servers}, groups {len(hub.teams)}",
        *([f"servers of groups {servers}"] if servers else []),
        f"database {hub.database['type']}",
        f"limits of a user {limits_text(hub.limits)}",
        *(["a domain for each user"] if hub.user_domains else []),
    ]
    return before, "; ".join(after)
