# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs in the hub of the Zero to JupyterHub chart, started by its jupyterhub_config.py: applies users' own limits and
shared folders from carrel.json beside that file, which playbooks/export_z2jh.yml wrote, and refuses
unverified addresses.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tornado import web

CARREL: dict[str, Any] = json.loads((Path(__file__).resolve().parent / "carrel.json").read_text(encoding="utf-8"))
CARREL_OWN = "carrel-"
CARREL_PROCESSORS = 0.05
CARREL_UNVERIFIED = "Your provider has not verified your e-mail address. Please verify it there, then try again."


def carrel_prepare(spawner: Any) -> None:
    """Runs before each start; replaces what an earlier start added."""
    user = CARREL["users"].get(spawner.user.name, {})
    mounts = {name: mount for name, mount in spawner.volume_mounts.items() if not name.startswith(CARREL_OWN)}
    for number, mount in enumerate(CARREL["mounts"][user.get("mounts", 0)]):
        mounts[f"{CARREL_OWN}{number}"] = {"name": CARREL["volume"], **mount}
    spawner.volume_mounts = mounts
    if "memory" in user:
        spawner.mem_limit = user["memory"]
        if user["memory"]:  # Kubernetes refuses a guarantee above the limit
            spawner.mem_guarantee = min(spawner.mem_guarantee or 0, user["memory"])
    if "cpus" in user:
        spawner.cpu_limit = user["cpus"]
        if user["cpus"]:  # without a guarantee, Kubernetes reserves the limit
            spawner.cpu_guarantee = min(spawner.cpu_guarantee or CARREL_PROCESSORS, user["cpus"])


def carrel_admit(authenticator: Any, handler: Any, model: Any) -> Any:
    """Runs at each log-in. An address that nobody has verified can be another person's."""
    account = model["auth_state"][authenticator.user_auth_state_key]
    if account.get(CARREL["verified"], CARREL["unsaid"]) not in (True, "true"):  # Amazon Cognito writes text
        raise web.HTTPError(403, CARREL_UNVERIFIED)
    return model


# The chart's jupyterhub_config.py defines c, and a get_config of its own.
# pylint: disable=undefined-variable
c.KubeSpawner.pre_spawn_hook = carrel_prepare  # type: ignore[name-defined]  # noqa: F821
if CARREL["verified"]:
    c.Authenticator.post_auth_hook = carrel_admit  # type: ignore[name-defined]  # noqa: F821
