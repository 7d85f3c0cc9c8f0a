# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Turn the administrator's variables into the inputs of the roles, or into a list of all problems."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._plan.backup import merge_backup
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.defaults import read_defaults, read_instances
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.host import (
    check_host,
    check_left_out,
    check_version,
    give_ports,
    read_host,
)
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.hub import check_hub
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.images import check_declared, read_images, to_build
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.instance import ControlNode, check_instance
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.instances import check_instances
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.key import Key
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.keys import Lab
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.lab import check_lab
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.moving import check_moved, foresee
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.problems import Problems
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.result import make_result
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.rollout import ROLLOUT
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.schema import given, read
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.smoke import check_smoke
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.variables import (
    ALLOW_DOWNGRADE,
    BACKUP,
    BASE_DIR,
    PORT_RANGE,
    TLS,
)


@dataclass(frozen=True)
class Inputs:
    """Raw values. None: not given. INVALID, also deep inside: a template failed, which is reported already."""

    instances: Any = None
    defaults: Any = None
    base_dir: Any = None
    port_range: Any = None
    tls: Any = None
    images: Any = None
    # the role image's image_kernels and image_pull_from. INVALID: not known before the role runs
    kernels: Any = None
    pull_from: Any = None
    allow_downgrade: Any = None
    backup: Any = None
    rollout: Any = None
    current: Any = None
    # names of the instances to set up; None: all
    only: Any = None
    # how the playbook move changes the plan before the inventory is changed
    moving: Any = None
    # name of the instance whose declaration is returned as in the inventory
    entry: Any = None
    # the lists jupyter_instances_* by their whole names
    groups: Mapping[str, Any] = field(default_factory=dict)


def make_plan(inputs: Inputs, control: ControlNode, problems: Problems) -> dict[str, Any] | None:
    """Return the plan. Adds everything that is wrong to PROBLEMS, and returns None if there are any."""
    port_range = _read(PORT_RANGE, inputs.port_range, "jupyter_port_range", problems)
    low, high = port_range if given(port_range) else PORT_RANGE.default
    base_dir = _read(BASE_DIR, inputs.base_dir, "jupyter_base_dir", problems)
    known_base_dir = base_dir if given(base_dir) else BASE_DIR.default
    tls = _read(TLS, inputs.tls, "jupyter_tls", problems)
    allow_downgrade = _read(ALLOW_DOWNGRADE, inputs.allow_downgrade, "jupyter_allow_downgrade", problems)
    backup = _read(BACKUP, inputs.backup, "jupyter_backup", problems)
    rollout = _read(ROLLOUT, inputs.rollout, "jupyter_rollout", problems)
    defaults = read_defaults(inputs.defaults, problems)
    host = read_host(inputs.current, problems)
    raw = foresee(inputs.instances, inputs.moving)
    instances = read_instances(raw, inputs.groups, defaults, host.kinds if host else {}, problems)
    for instance in instances:
        moving = inputs.moving and inputs.moving["name"] == instance.name
        if instance.wanted and instance.moved_to is not None and not moving:
            instance.state = "held"
    only = None if inputs.only is None else set(inputs.only)
    built = set() if inputs.pull_from else to_build(instances, only)
    images = read_images(inputs.images, inputs.kernels, built, control, problems)
    for instance in instances:
        if not instance.wanted:
            continue
        check_instance(instance, tls, control, problems)
        check_declared(instance, images, problems)
        merge_backup(instance, backup, problems)
        if isinstance(instance, Lab):
            check_lab(instance, control, problems)
        else:
            check_hub(instance, known_base_dir, control, problems)
        check_smoke(instance, images, control, problems)
    check_instances(instances, known_base_dir, problems)
    if host:
        if allow_downgrade is False:
            check_version(host, problems)
        check_host(instances, host, base_dir, problems)
        check_moved(instances, host.records, inputs.moving, problems)
        give_ports(instances, host, low, high, problems)
        if only is not None:
            check_left_out(instances, only, host, problems)
    problems.sort()
    entries = {instance.name: instance.entry for instance in instances if instance.name == inputs.entry}
    return (
        None
        if problems.items
        else {
            **make_result(instances, host, base_dir, only),
            "rollout": rollout,
            **({"entries": entries} if inputs.entry else {}),
        }
    )


def _read(key: Key, value: Any, path: str, problems: Problems) -> Any:
    return key.default if value is None else read(key.type.read, value, path, problems)
