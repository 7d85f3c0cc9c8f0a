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
    return max(map(start, failed(json.loads(docker("inspect", *stopped))) if stopped else []), default=0)


def start(identifier: str) -> int:
    """Return 1 if it does not start, and say why: the others may have devices that work."""
    try:
        docker("start", identifier)
    except subprocess.TimeoutExpired as error:
        print(f"{identifier[:12]}: {error}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        print(f"{identifier[:12]}: {error.stderr.strip()}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
