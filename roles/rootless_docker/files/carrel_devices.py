# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Start the containers with devices that their engine did not start again.

After a reboot, Docker starts containers before it knows devices by their CDI names, so containers with devices stay
down (seen with 26.1.5). The engine's unit runs this as the engine's account, once the engine is ready.
"""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import sys
from pathlib import Path
from typing import Any

CONFIG = "/etc/rootless-docker/{}/daemon.json"
FAULT = 'could not select device driver "cdi"'
SECONDS = 60


def docker(*arguments: str) -> str:
    command = ["docker", f"--host=unix://{os.environ['XDG_RUNTIME_DIR']}/docker.sock", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=SECONDS).stdout


def failed(containers: list[dict[str, Any]]) -> list[str]:
    """Containers that should run and could not be started because CDI was missing."""
    return [
        str(container["Id"])
        for container in containers
        if FAULT in (container["State"].get("Error") or "")
        and not container["State"]["Running"]
        and container["HostConfig"]["RestartPolicy"]["Name"] in ("always", "unless-stopped")
    ]


def main() -> int:
    options = json.loads(Path(CONFIG.format(pwd.getpwuid(os.getuid()).pw_name)).read_text(encoding="utf-8"))
    if not options.get("features", {}).get("cdi"):
        return 0
    stopped = docker(
        "ps", "--all", "--quiet", "--no-trunc", "--filter=status=exited", "--filter=status=created"
    ).split()
    for identifier in failed(json.loads(docker("inspect", *stopped))) if stopped else []:
        docker("start", identifier)
    return 0


if __name__ == "__main__":
    sys.exit(main())
