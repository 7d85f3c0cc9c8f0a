# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""In the hub of the Zero to JupyterHub chart, whose jupyterhub_config.py runs it: each user's own limits and what
they share with others, from carrel.json beside that file, which playbooks/export_z2jh.yml wrote.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

CARREL: dict[str, Any] = json.loads((Path(__file__).resolve().parent / "carrel.json").read_text(encoding="utf-8"))
CARREL_OWN = "carrel-"


def carrel_prepare(spawner: Any) -> None:
    """Runs before each start; what an earlier start added is replaced."""
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


# That file's own; its get_config is the chart's.
# pylint: disable-next=undefined-variable
c.KubeSpawner.pre_spawn_hook = carrel_prepare  # type: ignore[name-defined]  # noqa: F821
