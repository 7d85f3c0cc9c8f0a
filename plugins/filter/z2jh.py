# Copyright: the carrel.jupyter authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter of playbooks/export_z2jh.yml over the pure functions that decide."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import yaml
from ansible_collections.carrel.jupyter.plugins.module_utils._kubernetes import z2jh
from ansible_collections.carrel.jupyter.plugins.module_utils._kubernetes.notes import notes

DOCUMENTATION = r"""
name: _z2jh
short_description: For playbooks/export_z2jh.yml alone
description:
  - These filters are not part of the collection's interface. They may change with any release.
author:
  - the carrel.jupyter authors (@carrel)
options:
  _input:
    description: What the playbook gives it.
    type: raw
    required: true
"""

RETURN = r"""
_value:
  description: What the playbook needs.
  type: raw
"""

HEAD = """\
# Written by carrel.jupyter.export_z2jh from the inventory; the next export replaces it.
# Put changes into a file of your own, and name it after these: --values mine.yaml
"""


class _Dumper(yaml.SafeDumper):
    """Write texts of many lines as people do, and no anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)


def _yaml(*documents: Any) -> str:
    text: str = yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
    return HEAD + text


def files(plan: Mapping[str, Any], name: str, program: str) -> dict[str, str]:
    """The files of one hub by their names."""
    plan = json.loads(json.dumps(plan))  # YAML's dumper does not know Ansible's own types of lists and texts
    hub = next(hub for hub in plan["hub_instances"] if hub["name"] == name)
    reset = next(job for job in plan["reset_jobs"] if job["name"] == name)
    locations = [location for vhost in plan["apache_vhosts"] for location in vhost["locations"]]
    location = next(location for location in locations if location["instance"] == name)
    return {
        "values.yaml": _yaml(z2jh.values(z2jh.of_people(hub), str(program))),
        "secrets.yaml": _yaml(z2jh.secrets(hub)),
        "volumes.yaml": _yaml(*z2jh.volumes(hub)),
        "README.md": notes(hub, reset, location),
    }


def twice(names: Mapping[str, list[str]], only: list[str]) -> list[str]:
    """The hubs that several hosts have, with these. NAMES are hubs by host; ONLY has those to export, if not all."""
    found: dict[str, list[str]] = {}
    for host, hubs in names.items():
        for hub in hubs:
            if hub in only or not only:
                found.setdefault(hub, []).append(host)
    return [f"{hub} is on {' and on '.join(hosts)}" for hub, hosts in sorted(found.items()) if len(hosts) > 1]


class FilterModule:
    """For playbooks/export_z2jh.yml alone, not part of the collection's interface."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"_z2jh_files": files, "_z2jh_twice": twice}
