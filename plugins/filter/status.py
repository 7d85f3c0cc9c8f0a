# Copyright: the carrel.jupyter authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filters of playbooks/status.yml over the pure functions that make its report."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._report import report
from jinja2 import Environment, StrictUndefined

Hosts = Mapping[str, Mapping[str, Any]]

DOCUMENTATION = r"""
name: _status
short_description: For playbooks/status.yml alone
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


def table(hosts: Hosts) -> list[str]:
    return report.table(report.rows(hosts, datetime.now(timezone.utc)))


def page(hosts: Hosts, template: str, now: datetime | None = None) -> str:
    """The page from its template. Ansible's own templates escape nothing."""
    now = now or datetime.now(timezone.utc)
    rows = report.rows(hosts, now)
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(template).render(
        rows=rows,
        problems=report.problems(rows),
        counts=report.counts(rows),
        extent=report.extent(rows),
        summary=report.summary(rows),
        generated=now.strftime("%Y-%m-%d %H:%M UTC"),
    )


class FilterModule:
    """For playbooks/status.yml alone, not part of the collection's interface."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"_status_table": table, "_status_page": page, "_status_failing": report.failing}
