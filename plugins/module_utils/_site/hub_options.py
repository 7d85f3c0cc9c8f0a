# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of modules that set up a hub. The role and the comparison get them here, so they cannot differ.

What depends on each user is in hub.project, because the role's tasks evaluate these for every option anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def secrets(instance: Mapping[str, Any], engine: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of hub_secrets, without `passwords`."""
    return {
        "directory": instance["directory"],
        "owner": engine["uid"],
        "group": engine["gid"],
        "database": instance["database"]["type"] == "postgresql",
        "client_secret": instance["client_secret"],
        "dummy_password": instance["dummy_password"],
        "services": [service["name"] for service in instance["services"]],
        "authenticator_secrets": instance["authenticator_secrets"],
    }


def volumes(instance: Mapping[str, Any], engine: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of user_volumes, without ids, users, their directories and the time."""
    named = instance["backend"] == "volumes"
    return {
        "backend": instance["backend"],
        "path": None if named else f"{instance['directory']}/data/users",
        "socket": engine["socket"] if named else None,
        "prefix": instance["name"] if named else None,
        "hub_directory": instance["directory"],
        "account": instance["engine"],
        "prune": instance["prune"],
        "delete_after_days": instance["delete_after_days"],
        "allow_empty": instance["allow_no_users"],
    }


def mounts(instance: Mapping[str, Any], engine: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of group_mounts, without ids, users and their directories. The plan has checked them."""
    return {
        "path": f"{instance['directory']}/data",
        "file": f"{instance['directory']}/hub/mounts.json",
        "file_group": engine["gid"],
        "account": instance["engine"],
        "allow_empty": True,  # where all people are held, too
        **{key: instance[key] for key in ("home", "targets", "groups", "shared", "colab", "users_view")},
    }
