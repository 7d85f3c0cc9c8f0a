# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may use the deployed hubs of a host. The role writes this before anything that can fail."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._changes.file import json_text
from ansible_collections.carrel.jupyter.plugins.module_utils._people.group_mounts import Plan
from ansible_collections.carrel.jupyter.plugins.module_utils._site import hub, hub_options


def access(instances: Sequence[Mapping[str, Any]], host: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of the module hub_access, from entries of `hub_instances` and instance_info's answer."""
    hubs = []
    passwords = {}
    for instance in instances:
        engine = host["engines"].get(instance["engine"], {})
        recorded = host["instances"].get(instance["name"], {})
        if recorded.get("kind") != "hub" or engine.get("uid") is None or instance["state"] == "absent":
            continue
        people = hub.people(instance)
        passwords[instance["name"]] = people["passwords"]
        options = {**hub_options.mounts(instance, engine), "users": people["members"]}
        hubs.append(
            {
                "name": instance["name"],
                "directory": instance["directory"],
                "owner": engine["uid"],
                "group": engine["gid"],
                "roster": people["roster"],
                "mounts": json_text(Plan({**options, "user_directories": people["user_mounts"]}).content),
            }
        )
    return {"hubs": hubs, "passwords": passwords}
