# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host variables that the plan reads."""

from __future__ import annotations

from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._plan import parts, schema, values
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.backup import BACKUP_TYPE
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.defaults import DEFAULTS, INSTANCES
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.image_keys import IMAGES
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.key import Key, Type
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.problems import Problems
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.rollout import ROLLOUT
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.schema import INVALID, Invalid, given
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.types import BOOLEAN

_WANTED = "a list of the first and the last port, for example [8800, 9799]"
_ports = schema.listing(schema.whole(1024, 65535), _WANTED)


def read_port_range(value: Any, path: str, problems: Problems) -> list[int] | Invalid:
    ports: list[int] | Invalid = _ports(value, path, problems)
    if isinstance(ports, Invalid):
        return INVALID
    if len(ports) != 2:
        problems.add(path, "wrong_type", got=f"a list of {len(ports)}", wanted=_WANTED)
        return INVALID
    low, high = ports
    if not given(low) or not given(high):
        return INVALID
    if low > high:
        problems.add(path, "port_range_order", low=low, high=high)
        return INVALID
    return ports


BASE_DIR = Key(
    Type(values.base_dir, "a folder of the host", "/etc", "path"),
    "Folder on the host that contains the instances' folders.",
    example="/data/jupyter",
    default="/srv",
)
PORT_RANGE = Key(
    Type(read_port_range, "the first and the last port", [9000, 8000], "list", "int"),
    "Ports on 127.0.0.1 for new instances; those that the kernel gives to programs that ask for any are left out.",
    example=[20000, 20999],
    default=[8800, 9799],
)
ALLOW_DOWNGRADE = Key(
    BOOLEAN,
    "Whether this version of the collection may overwrite files of a newer one.",
    example=True,
    default=False,
)
TLS = Key(
    parts.TLS_TYPE,
    "How https addresses get their certificate, unless an instance sets its own.",
    example="acme",
    unset="each https address needs its own",
)

BACKUP = Key(
    BACKUP_TYPE,
    "How all instances are backed up; the keys of an instance's own backup override these.",
    example={"repository": "/srv/backup", "password": "{{ vault_backup_password }}", "at": "02:30"},
    unset="no backups",
)

VARIABLES: dict[str, Key] = {
    "jupyter_instances": INSTANCES,
    "jupyter_defaults": DEFAULTS,
    "jupyter_tls": TLS,
    "jupyter_images": IMAGES,
    "jupyter_base_dir": BASE_DIR,
    "jupyter_port_range": PORT_RANGE,
    "jupyter_allow_downgrade": ALLOW_DOWNGRADE,
    "jupyter_backup": BACKUP,
    "jupyter_rollout": ROLLOUT,
}
