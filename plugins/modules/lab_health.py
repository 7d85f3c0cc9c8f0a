#!/usr/bin/python
# Copyright: the carrel.jupyter authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: lab_health
short_description: Wait until a lab's container is healthy
version_added: 0.1.0
author: the carrel.jupyter authors (@carrel)
description:
  - Waits until the health check of a compose project's service succeeds.
  - Fails at once if the container has ended, or if its check finds that people get in without a log-in.
options:
  project:
    description: Name of the compose project.
    type: str
    required: true
  service:
    description: Name of its service.
    type: str
    required: true
  socket:
    description: The engine's socket.
    type: path
    required: true
  timeout_seconds:
    description: Seconds to wait, at least 45, because that is how long the first check may take to end.
    type: int
    default: 120
  fresh:
    description: Whether to wait for a check that begins after the module's start, because the server's files changed.
    type: bool
    default: false
extends_documentation_fragment:
  - carrel.jupyter.attributes
attributes:
  check_mode:
    support: full
    details: Changes nothing, so check mode makes no difference.
  diff_mode:
    support: N/A
    details: Changes nothing.
  idempotent:
    support: full
seealso:
  - module: carrel.jupyter.site_health
"""

EXAMPLES = r"""
- name: Wait for a lab
  carrel.jupyter.lab_health:
    project: tao
    service: lab-1
    socket: /run/user/1001/docker.sock
"""

RETURN = r"""
health:
  description: The result of the last check.
  returned: success
  type: str
  sample: jupyter_server 2.21.1
open:
  description: Whether the server lets in anybody.
  returned: always
  type: bool
"""

import time
from datetime import datetime, timezone
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrel.jupyter.plugins.module_utils._host.engine_api import EngineAPI, EngineError
from ansible_collections.carrel.jupyter.plugins.module_utils._site.lab_health import judge

# Docker checks a container that has started every half a minute.
CHECKS_WITHIN_SECONDS = 45


def inspect(engine: EngineAPI, project: str, service: str) -> dict[str, Any] | None:
    labels = [f"com.docker.compose.project={project}", f"com.docker.compose.service={service}"]
    try:
        found = engine.call("GET", "/containers/json", label=labels)
        container: dict[str, Any] | None = engine.call("GET", f"/containers/{found[0]['Id']}/json") if found else None
    except EngineError as error:
        if error.status == 404:  # it went away in between
            return None
        raise
    return container


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "project": {"type": "str", "required": True},
            "service": {"type": "str", "required": True},
            "socket": {"type": "path", "required": True},
            "timeout_seconds": {"type": "int", "default": 120},
            "fresh": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    given = module.params
    engine = EngineAPI(given["socket"])
    since = datetime.now(timezone.utc) if given["fresh"] else None
    seconds = max(given["timeout_seconds"], CHECKS_WITHIN_SECONDS)
    end = time.monotonic() + seconds
    while True:
        try:
            verdict = judge(inspect(engine, given["project"], given["service"]), since)
        except EngineError as error:
            module.fail_json(msg=str(error), open=False)
        # the engine belongs to the account, and may answer anything
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            module.fail_json(msg=f"the engine's answer cannot be read: {error!r}", open=False)
        if verdict.ready:
            module.exit_json(changed=False, health=verdict.seen, open=False)
        if verdict.failed:
            module.fail_json(msg=verdict.seen, open=verdict.open)
        if time.monotonic() > end:
            module.fail_json(msg=f"it did not become healthy within {seconds} s: {verdict.seen}", open=False)
        time.sleep(0.3)


if __name__ == "__main__":
    main()
