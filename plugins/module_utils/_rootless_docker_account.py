# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""An account that runs an engine, its systemd manager and the engine's socket."""

from __future__ import annotations

import http.client
import json
import os
import pwd
import socket
import subprocess
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._rootless_docker import UNIT, Service

PROPERTIES = "LoadState,ActiveState,NeedDaemonReload,ExecMainStartTimestampMonotonic"


class Account:
    """An account and its systemd manager."""

    def __init__(self, entry: pwd.struct_passwd) -> None:
        self.name, self.uid, self.gid, self.home = entry.pw_name, entry.pw_uid, entry.pw_gid, entry.pw_dir
        self.runtime = f"/run/user/{self.uid}"
        self.socket = f"{self.runtime}/docker.sock"

    def systemctl(self, *arguments: str, timeout: float = 90) -> subprocess.CompletedProcess[str]:
        """As the account itself: there is no way to its manager for `sudo -i` or a system unit."""
        environment = {"PATH": "/usr/bin:/bin", "HOME": self.home, "XDG_RUNTIME_DIR": self.runtime}
        return subprocess.run(
            ["systemctl", "--user", *arguments],
            user=self.uid,
            group=self.gid,
            extra_groups=[],
            env=environment,
            cwd="/",
            timeout=timeout,
            capture_output=True,
            text=True,
        )

    @property
    def lingers(self) -> bool:
        return os.path.exists(f"/var/lib/systemd/linger/{self.name}")

    @property
    def manager_runs(self) -> bool:
        return os.path.exists(f"{self.runtime}/systemd/private")

    def service(self) -> Service:
        if not self.manager_runs:
            return Service()
        return Service.parse(self.systemctl("show", UNIT, f"--property={PROPERTIES}").stdout)

    def info(self) -> dict[str, Any] | None:
        """What `docker info` says; None when the engine does not answer."""
        connection = http.client.HTTPConnection("localhost", timeout=10)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(10)
        try:
            connection.sock.connect(self.socket)
            connection.request("GET", "/info")
            response = connection.getresponse()
            answer = json.loads(response.read())
        except (OSError, ValueError, http.client.HTTPException):
            return None
        finally:
            connection.close()
        return answer if response.status == 200 else None

    def log(self) -> str:
        subprocess.run(["journalctl", "--sync"], capture_output=True)
        command = ["journalctl", "--quiet", "--no-pager", "--output=cat", "--lines=60", f"_UID={self.uid}"]
        command.append(f"_SYSTEMD_USER_UNIT={UNIT}")
        return subprocess.run(command, capture_output=True, text=True, errors="replace").stdout
