# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every key of a hub."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._plan import hub_own, hub_values, types, values
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.hub_authenticator import Authenticator
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.hub_several import AUTHENTICATOR_TYPE
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.key import Key, Type, filled
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.keys import COMMON, Instance
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.limits import LIMITS

_NAMES = types.listing(types.text("a name in quotes"), "a list of names", "a list of names")

HUB: dict[str, Key] = {
    **COMMON,
    "image": COMMON["image"]._replace(handed=False),
    "command": COMMON["command"]._replace(default=["jupyterhub-singleuser"]),
    "images": Key(
        hub_values.IMAGES_TYPE,
        "Images from which users choose; the first is the default.",
        example=[{"title": "Default", "image": "registry.example.org/course:1.0"}],
        instead="write image",
    ),
    "home": Key(
        types.CONTAINER_PATH,
        "Folder in users' containers that each user keeps, and in which notebooks open.",
        example="/home/jovyan",
        default="/home/jovyan/work",
        instead="write notebooks",
    ),
    "persist": Key(
        Type(values.persist(), "a mapping of names to folders in the container", [], "dict"),
        "More folders that each user keeps.",
        example={"settings": "/home/jovyan/.jupyter/lab"},
        unset="JupyterLab's own settings, if they are not in home",
    ),
    "environment": Key(
        Type(values.environment(hub_values.reserved), "a mapping of names to text", [], "dict"),
        "Variables of users' containers.",
        example={"LANG": "C.UTF-8"},
        default={},
        secret=True,
    ),
    "backend": Key(
        types.choice("directories", "volumes"),
        "Place of users' folders: /srv/NAME/data/users, or Docker's named volumes.",
        example="volumes",
        default="directories",
    ),
    "prune": Key(
        types.choice("keep", "archive"),
        "What happens to the folders of users who are no longer listed.",
        example="archive",
        default="keep",
    ),
    "delete_after_days": Key(
        types.whole(1, 36500),
        "With prune: archive, after how many days in the archive a user's folders are deleted for good.",
        example=365,
        unset="never",
    ),
    "allow_no_users": Key(types.BOOLEAN, "Allows an empty list of users.", example=True, default=False),
    "authenticator": Key(
        AUTHENTICATOR_TYPE,
        "How people log in.",
        example={"type": "github", "client_id": "class101", "client_secret": "{{ vault_class101_client_secret }}"},
        default=Authenticator({"type": "native", "signup": False}),
        unset="native",
    ),
    "normalize_usernames": Key(
        types.BOOLEAN,
        "Whether ada@uni.example becomes ada--uni-example; always write names as the provider has them.",
        example=True,
        default=False,
    ),
    "users": Key(
        hub_values.USERS_TYPE,
        "Users who may log in; nobody else may, unless the authenticator's keys allow it.",
        example=["ada", {"name": "prof", "admin": True}],
        default=[],
        instead="write password or token, which all users of a lab share, or kind: hub",
    ),
    "users_csv": Key(
        hub_values.files("a CSV file"),
        "CSV file with more users, or a list of files; relative paths begin at the inventory's folder.",
        example="files/rosters/class101.csv",
        default=[],
        handed=False,
    ),
    "blocked_users": Key(
        _NAMES, "Users who may not log in, even if the authenticator would admit them.", example=["mallory"], default=[]
    ),
    "groups": Key(
        hub_values.GROUPS_TYPE,
        "Courses and teams by name; a user is in a group if the group or the user says so.",
        example={"statistics": {"members": ["ada"], "admins": ["prof"]}},
        default={},
    ),
    "shared": Key(
        types.BOOLEAN, "Whether there is a folder that all read and admins write.", example=False, default=True
    ),
    "colab": Key(types.BOOLEAN, "Whether there is a folder that all write.", example=False, default=True),
    "users_view": Key(
        types.choice("none", "ro", "rw"), "How admins see the homes of all users.", example="ro", default="none"
    ),
    "targets": Key(
        types.listing(types.CONTAINER_PATH, "a list of folders in the container", "a list of folders in the container"),
        "Folders in which mounts of groups are allowed, besides the home.",
        example=["/opt"],
        default=[],
    ),
    "limits": Key(
        hub_values.LIMITS_TYPE,
        "Limits of each user's container, unless the user or a group sets others.",
        example={"memory": "2G"},
        default=filled(LIMITS, {}),
        unset="see its keys",
        instead="write memory, cpus and pids",
    ),
    "gpu_devices": Key(
        types.DEVICES,
        "Graphics cards by their CDI names. Each server gets as many of them for itself as gpus in its limits says.",
        example=["nvidia.com/gpu=0", "nvidia.com/gpu=1"],
        default=[],
        instead="write devices",
    ),
    "culler": Key(
        hub_values.CULLER_TYPE,
        "When idle servers are stopped.",
        example={"idle_seconds": 7200},
        default=filled(hub_values.CULLER, {}),
        unset="see its keys",
        instead="write idle_shutdown_seconds",
    ),
    "shutdown_on_logout": Key(
        types.BOOLEAN, "Whether a user's server stops when the user logs out.", example=True, default=False
    ),
    "default_url": Key(
        Type(hub_values.default_url, "a path", "lab"), "First page of a user's server.", example="/tree", default="/lab"
    ),
    "user_domains": Key(
        types.BOOLEAN,
        "Whether each user's server has a domain of its own, so that a page in one can't act in another.",
        example=True,
        default=False,
    ),
    "sharing": Key(
        types.BOOLEAN,
        "Whether users may share their servers with others through the hub's API; needs user_domains.",
        example=True,
        default=False,
    ),
    "concurrent_spawns": Key(types.whole(1, 1000), "How many servers may start at once.", example=50, default=20),
    "active_servers": Key(types.whole(0, 100000), "How many servers may run; 0: no limit.", example=30, default=0),
    "spawn_timeout_seconds": Key(
        types.whole(1, 3600), "How long a user's container may take to start.", example=120, default=60
    ),
    "http_timeout_seconds": Key(
        types.whole(1, 3600), "How long a started server may take to answer.", example=120, default=60
    ),
    "database": Key(
        hub_values.DATABASE_TYPE,
        "Database of the hub itself: a file, or PostgreSQL in a container of its own.",
        example="postgresql",
        default={"type": "sqlite", "image": None},
        unset="sqlite",
    ),
    "settings": Key(
        Type(hub_values.settings, "a mapping of plugins to mappings", [], "dict"),
        "Default settings of JupyterLab, as in its overrides.json; each user can change them.",
        example={"@jupyterlab/apputils-extension:themes": {"theme": "JupyterLab Dark"}},
        default={},
    ),
    "extra_config": Key(
        hub_values.files("a Python file"),
        "Python file that adds to jupyterhub_config.py, or a list of files; relative paths as in users_csv.",
        example="files/hub/announcements.py",
        default=[],
    ),
    "extra_packages": Key(
        hub_own.PACKAGES_TYPE,
        "More Python packages for the hub's image.",
        example=["jupyterhub-ltiauthenticator==1.6.3"],
        default=[],
    ),
    "services": Key(
        hub_own.SERVICES_TYPE,
        "Services of the hub, each with a token that is generated on the host.",
        example=[{"name": "announcements", "url": "http://announcements.example.org:9000", "access": "everybody"}],
        default=[],
    ),
}


class Hub(Instance):
    """A hub. `people` and `teams` follow from users, users_csv, groups and limits, in the form of the plan's result."""

    KEYS = HUB

    def __init__(self, path: str, values: Mapping[str, Any]) -> None:
        super().__init__(path, values)
        self.people: list[dict[str, Any]] = []
        self.held_users: list[dict[str, str]] = []
        self.blocked_identities: list[str] = []
        self.teams: list[dict[str, Any]] = []
        self.extra_files: list[dict[str, str]] = []

    @property
    def named_devices(self) -> list[str]:
        return [*self.devices, *self.gpu_devices]

    @property
    def memory_limit(self) -> int:
        """Memory of all servers that can run at once. Guests count only if active_servers limits the number."""
        sizes = sorted((user["memory"] or 0 for user in self.people), reverse=True)
        if not self.active_servers:
            return sum(sizes)
        if self.authenticator.open or not sizes:
            sizes = sorted(sizes + [self.limits["memory"] or 0] * self.active_servers, reverse=True)
        return sum(sizes[: self.active_servers])
