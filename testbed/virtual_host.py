# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A virtual host as the role apache writes it, without a run of Ansible."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jinja2
import yaml
from ansible.plugins.filter.core import FilterModule
from ansible.plugins.test.core import TestModule as CoreTests

from .run import ROOT


def virtual_host(found: Mapping[str, Any], **more: Any) -> str:
    """FOUND is an entry of apache_vhosts, with every key; MORE are variables of the role."""
    folder = ROOT / "roles" / "apache"
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(folder / "templates"), trim_blocks=True)
    environment.filters.update(FilterModule().filters())
    environment.tests.update(CoreTests().tests())
    known = {**yaml.safe_load((folder / "vars/main.yml").read_text()), "lookup": lambda *_given: "a page"}
    known.update(yaml.safe_load((folder / "defaults/main.yml").read_text()), **more)
    return environment.get_template("vhost.conf.j2").render(**known, vhost=found)
