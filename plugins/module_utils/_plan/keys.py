# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every key of an instance and of a lab. Limits are in limits.py, the keys of hubs in hub_keys.py."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from ansible_collections.carrel.jupyter.plugins.module_utils._plan import parts, types, values
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.backup import BACKUP_TYPE
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.key import Key, Type, filled
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.limits import LAB_LIMITS, LIMITS
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.names import read_name
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.problems import Problems
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.reset import RESET_TYPE
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.schema import INVALID
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.server_settings import SERVER_SETTINGS_TYPE
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.url import Url

COMMON: dict[str, Key] = {
    "name": Key(
        types.NAME,
        "Name of the instance, of its folder, and of its engine and account unless engine says otherwise.",
        example="tao",
        needed="a name, for example geo",
        single=True,
    ),
    "kind": Key(
        types.choice("lab", "hub"),
        "Kind of instance: one JupyterLab that people share, or a JupyterHub that starts a container for each user.",
        example="hub",
        default="lab",
        handed=False,
    ),
    "url": Key(
        types.URL,
        "Public address, with a port if Apache should listen on a port other than 443.",
        example="https://lab.example.org/",
        needed="the public address, for example https://lab.example.org/",
        single=True,
    ),
    "state": Key(
        types.choice("present", "held", "absent"),
        "Whether it runs, is stopped (its data is kept, and its address says that it is on hold), or is archived and "
        "removed.",
        example="held",
        default="present",
    ),
    "moved_to": Key(
        types.ADDRESS,
        "Address of the host to which the playbook move has moved it; here it is held, and requests are forwarded.",
        example="192.0.2.7",
        unset="it was not moved",
        single=True,
    ),
    "image": Key(
        parts.IMAGE_TYPE,
        "Image of its containers; a lab has image or build, a hub image or images.",
        example="registry.example.org/course:1.0",
    ),
    "engine": Key(
        types.NAME,
        "Engine that runs it. Instances that share an engine need less memory and disk, but are not isolated from each "
        "other.",
        example="tao",
        unset="an engine of its own with the instance's name",
    ),
    "port": Key(
        types.whole(1024, 65535),
        "Port on 127.0.0.1 to which Apache sends requests.",
        example=8801,
        unset="one that is free",
        single=True,
    ),
    "tls": Key(
        parts.TLS_TYPE,
        "How an https address gets its certificate.",
        example="acme",
        unset="`jupyter_tls`",
        handed=False,
    ),
    "hsts_seconds": Key(
        types.whole(0, 10 * 365 * types.DAY),
        "Seconds for which browsers insist on https (Strict-Transport-Security); 0 sends no header.",
        example=31536000,
        unset="a year with files and acme, otherwise 0",
        handed=False,
    ),
    "login": Key(
        parts.LOGIN_TYPE,
        "The log-in page.",
        example={"notice": "The service restarts daily at 01:25."},
        unset="the page of the image or the hub",
    ),
    "owner": Key(
        types.IDS,
        "Owner of the data, as ids in the container.",
        example="1000:100",
        unset="who the container runs as",
    ),
    "command": Key(types.WORDS, "Command instead of the image's.", example=["start-notebook.py"], unset="the image's"),
    "sudo": Key(
        types.BOOLEAN,
        "Whether people may become root in the container, if the image lets them.",
        example=True,
        unset="as GRANT_SUDO in environment says",
    ),
    "devices": Key(
        types.DEVICES,
        "Devices of the host by their CDI names; in a hub, for every user's container.",
        example=["nvidia.com/gpu=0"],
        default=[],
    ),
    "egress": Key(
        parts.EGRESS_TYPE,
        "Where the container may connect to; in a hub, every user's container, besides the hub.",
        example={"allow": ["192.0.2.0/24"]},
        unset="everywhere",
    ),
    "server_settings": Key(
        SERVER_SETTINGS_TYPE,
        "Traits of jupyter_server and JupyterLab, by class; in a hub, for every user's server. Put no secrets here.",
        example={"ServerApp": {"max_body_size": 1073741824}, "MappingKernelManager": {"cull_idle_timeout": 3600}},
        default={},
    ),
    "pull": Key(
        types.choice("missing", "always"),
        "When the image is pulled: if the host does not have it, or in each run, to get a newer one with the same tag.",
        example="always",
        default="missing",
    ),
    "start_timeout_seconds": Key(
        types.whole(1, 3600), "How long a new container may take until its server answers.", example=300, default=120
    ),
    "smoke": Key(
        types.NOTEBOOKS,
        "Notebooks of the control node that run in each new server of a lab, and in a server from each new image of a "
        "hub, before people get it; if one fails, they keep the old one.",
        example=["files/notebooks/check.ipynb"],
        default=[],
    ),
    "smoke_timeout_seconds": Key(
        types.whole(1, 3600),
        "How long the smoke notebooks may take together.",
        example=600,
        default=300,
    ),
    "proxy": Key(
        parts.PROXY_TYPE,
        "Limits and websockets in Apache.",
        example={"max_body": "4G"},
        default=filled(parts.PROXY, {}),
        unset="see its keys",
        handed=False,
    ),
    "engine_disk": Key(
        types.size(1 << 30, 64 << 40, "1G", "64T"),
        "Disk limit of its engine, if the engine is new and the file system has project quotas; if several instances "
        "share the engine, the largest limit counts.",
        example="200G",
        unset="no limit",
        handed=False,
    ),
    "reset": Key(
        RESET_TYPE,
        "When and how its containers are recreated from their image; only the mounted folders stay.",
        example={"at": "01:25", "pull": True},
        default=filled(RESET_TYPE.keys, {}),
        unset="only by hand",
        handed=False,
    ),
    "backup": Key(
        BACKUP_TYPE,
        "How it is backed up; its keys override those of jupyter_backup.",
        example={"at": "02:30"},
        unset="`jupyter_backup`; without that, there are no backups",
        handed=False,
    ),
}

LAB: dict[str, Key] = {
    **COMMON,
    "build": Key(
        parts.BUILD_TYPE,
        "Folder with a Dockerfile that the host builds, instead of image.",
        example={"context": "files/images/geo"},
        instead="write image or images",
    ),
    "password": Key(
        types.SECRET,
        "Password that all its people share, with at least 8 characters.",
        example="{{ vault_tao_password }}",
        secret=True,
        instead="write the passwords of users in users, with an authenticator of type native",
    ),
    "token": Key(
        types.SECRET,
        "Fixed token, with at least 16 characters, in addition to a password or instead of it.",
        example="{{ vault_geo_token }}",
        unset="generated on the host if there is no password",
        secret=True,
        instead="leave it out, users log in through the authenticator",
    ),
    "token_file": Key(
        types.TOKEN_FILE,
        "File on the host for a generated token.",
        example="/srv/tokens/seminar",
        unset="/srv/NAME/token",
        instead="leave it out, users log in through the authenticator",
        single=True,
    ),
    "notebooks": Key(
        types.CONTAINER_PATH,
        "Folder of the container with the notebooks; on the host /srv/NAME/data/notebooks.",
        example="/home/jovyan/notebooks",
        default="/home/jovyan/work",
        instead="write home",
    ),
    "persist": Key(
        Type(values.persist("notebooks"), "a mapping of names to folders in the container", [], "dict"),
        "More folders of the container that are kept in a reset; on the host /srv/NAME/data/FOLDER.",
        example={"settings": "/home/jovyan/.jupyter"},
        default={},
    ),
    "volumes": Key(
        types.listing(parts.VOLUME_TYPE, "a list of {source, target, read_only}", "a list of mappings"),
        "Folders of the host.",
        example=[{"source": "/data/maps", "target": "/home/jovyan/maps", "read_only": True}],
        default=[],
        instead="write mounts of a group in groups",
    ),
    "environment": Key(
        Type(values.environment(values.LAB_ENVIRONMENT.get), "a mapping of names to text", [], "dict"),
        "Variables of the container; those that the role sets itself, such as JUPYTER_TOKEN, have keys of their own.",
        example={"LANG": "C.UTF-8", "NB_UMASK": "022"},
        default={},
        secret=True,
    ),
    "user": Key(
        types.IDS,
        "User of the container; 0:0 is not root on the host.",
        example="0:0",
        unset="as the image says",
        instead="write owner",
    ),
    **LAB_LIMITS,
    "collaboration": Key(types.BOOLEAN, "Real-time collaboration.", example=True, unset="as the image has it"),
    "idle_shutdown_seconds": Key(
        types.whole(0, 366 * types.DAY),
        "Seconds without activity after which the server stops itself; 0: never.",
        example=86400,
        default=0,
        instead="write culler: {idle_seconds: ...}",
    ),
}


class Instance:
    """An instance, with its keys as attributes. A key is INVALID if its problem is reported already."""

    KEYS: ClassVar[Mapping[str, Key]] = COMMON

    # As in the inventory.
    entry: Mapping[str, Any] = MappingProxyType({})

    def __init__(self, path: str, values: Mapping[str, Any]) -> None:
        self.path = path
        # About things that are allowed but look wrong.
        self.warnings: list[str] = []
        vars(self).update(filled(self.KEYS, values))

    if TYPE_CHECKING:

        def __getattr__(self, key: str) -> Any: ...

        def __setattr__(self, key: str, value: Any) -> None: ...

    @property
    def address(self) -> Url | None:
        """The url, if all of its parts are valid."""
        return self.url if isinstance(self.url, Url) and INVALID not in self.url else None

    @property
    def wanted(self) -> bool:
        """Whether it exists after the run: present or held."""
        return bool(self.state != "absent")

    @property
    def named_devices(self) -> list[str]:
        """CDI names of the devices that containers may get."""
        return list(self.devices)

    @property
    def memory_limit(self) -> int:
        """Bytes that the containers may use together, as far as there are limits."""
        return 0


class Lab(Instance):
    KEYS = LAB
    # The port of the server that takes over in a reset. It is always allocated, never declared.
    second_port: int | None = None

    @property
    def limits(self) -> dict[str, Any]:
        """The limits, in the form of a hub's key limits."""
        return {key: getattr(self, key) if key in LAB_LIMITS else None for key in LIMITS}

    @property
    def memory_limit(self) -> int:
        return int(self.memory or 0)


def instance_path(index: int, value: Any, variable: str = "jupyter_instances") -> str:
    """Return the path of an instance in its list, with its name if that is valid."""
    name = read_name(value.get("name") if isinstance(value, Mapping) else None, "", Problems())
    return f"{variable}[{index}]" + (f" ({name})" if isinstance(name, str) else "")
