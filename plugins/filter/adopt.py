# Copyright: the carrel.jupyter authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filters of playbooks/adopt.yml and takeover.yml over the pure functions that decide."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import yaml
from ansible_collections.carrel.jupyter.plugins.module_utils._adopt import host as _host
from ansible_collections.carrel.jupyter.plugins.module_utils._adopt import takeover, takeover_hub
from ansible_collections.carrel.jupyter.plugins.module_utils._adopt.hub import Reference
from ansible_collections.carrel.jupyter.plugins.module_utils._adopt.report import report

DOCUMENTATION = r"""
name: _adopt
short_description: For the playbooks adopt and takeover alone
description:
  - This filter is not part of the collection's interface. It may change with any release.
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

HEAD = "# Written by carrel.jupyter.adopt from what is on the host; look through it, it is yours from now on.\n"
SECRETS = "# Written by carrel.jupyter.adopt. Encrypt it: ansible-vault encrypt FILE\n"


class _Raw(str):
    """Text that Ansible must not take for a template."""


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


_Dumper.add_representer(Reference, lambda dumper, text: dumper.represent_str(str(text)))
_Dumper.add_representer(_Raw, lambda dumper, text: dumper.represent_scalar("!unsafe", str(text), style="'"))


def _yaml(content: Any) -> str:
    text: str = yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
    return text


def _raw(value: Any) -> Any:
    """Every text with the tag, but for references to secrets: all else was read from the host."""
    if isinstance(value, dict):
        return {key: _raw(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_raw(item) for item in value]
    return _Raw(value) if isinstance(value, str) and not isinstance(value, Reference) else value


def files(survey: Mapping[str, Any], host: str) -> dict[str, str]:
    """The files of one host by their names below the folder; only the report if nothing can be adopted."""
    adoption = _host.adopt(json.loads(json.dumps(survey)))  # YAML's dumper does not know Ansible's own types of texts
    found = {f"{host}.md": report(adoption, host, survey["base_dir"])}
    if adoption.instances:
        variables = {
            "jupyter_instances": _raw(adoption.instances),
            **({"jupyter_adopted": _raw(adoption.takeovers)} if adoption.takeovers else {}),
        }
        found[f"host_vars/{host}/jupyter.yml"] = HEAD + _yaml(variables)
    if adoption.secrets:
        found[f"host_vars/{host}/vault.yml"] = SECRETS + _yaml({_host.SECRETS: _raw(adoption.secrets)})
    return found


class FilterModule:
    """For the playbooks alone, not part of the collection's interface."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "_adopt_files": files,
            "_adopt_chosen": takeover.chosen,
            "_adopt_foreseen": takeover.foreseen,
            "_adopt_hub_problem": takeover_hub.declared_problem,
            "_adopt_not_chosen": takeover.not_chosen,
            "_adopt_undeclared": takeover.undeclared,
        }
