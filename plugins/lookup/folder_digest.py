# Copyright: the carrel.jupyter authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: folder_digest
short_description: Compute the digest of a folder on the control node
version_added: 0.1.0
description:
  - The same names, contents and executable bits give the same digest on every machine, so it can stand in the tag of an
    image that is built from the folder. What Python keeps in C(__pycache__) does not count.
  - A link to a file outside of the folder counts as that file, other links by the names of their targets.
options:
  _terms:
    description: Folders; relative ones are looked for in the role's C(files) and beside the playbook.
    type: list
    elements: path
    required: true
  salt:
    description: Text that goes into the digest as well, such as build arguments.
    type: str
    default: ""
author:
  - the carrel.jupyter authors (@carrel)
"""

EXAMPLES = r"""
- name: Show the digest of a folder
  ansible.builtin.debug:
    msg: "{{ lookup('carrel.jupyter.folder_digest', 'images/geo', salt='VERSION=1') }}"
"""

RETURN = r"""
_raw:
  description: The first twelve hexadecimal digits of a SHA-256.
  type: list
  elements: str
"""

from pathlib import Path
from typing import Any

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase
from ansible_collections.carrel.jupyter.plugins.plugin_utils._folder import digest


class LookupModule(LookupBase):
    def run(self, terms: list[str], variables: dict[str, Any] | None = None, **kwargs: Any) -> list[str]:
        self.set_options(var_options=variables, direct=kwargs)
        return [digest(self._find(term, variables), self.get_option("salt")) for term in terms]

    def _find(self, term: str, variables: dict[str, Any] | None) -> Path:
        """Find a file as Ansible does for a task: in the role or beside the playbook."""
        found = self.find_file_in_search_path(variables, "files", term, ignore_missing=True)
        if not found or not Path(found).is_dir():
            raise AnsibleLookupError(f"{term} is not a folder on the control node")
        return Path(found)
