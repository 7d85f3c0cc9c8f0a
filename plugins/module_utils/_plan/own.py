# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""List an administrator's own additions to an instance, for the plan's summary and the status."""

from __future__ import annotations

from ansible_collections.carrel.jupyter.plugins.module_utils._plan.hub_keys import Hub
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.keys import Lab


def own(instance: Lab | Hub) -> list[str]:
    """Return a text for each key, without values that may be secret."""
    found = {
        "server_settings": sorted(instance.server_settings),
        "proxy": ["directives"] if instance.proxy["directives"] else [],
        "reset": [key for key in ("before", "after") if instance.reset[key]],
    }
    if isinstance(instance, Hub):
        found |= {
            "extra_config": [file["name"] for file in instance.extra_files],
            "extra_packages": instance.extra_packages,
            "services": [service["name"] for service in instance.services],
            "authenticator": ["settings"] if instance.authenticator.own else [],
        }
    return [f"{key} {', '.join(items)}" for key, items in found.items() if items]
