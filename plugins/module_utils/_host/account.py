# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Work with an account that runs an engine: its systemd manager, and the engine's socket."""

from __future__ import annotations

import os
import pwd
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._engine.rootless_docker import UNIT
from ansible_collections.carrel.jupyter.plugins.module_utils._engine.units import PROPERTIES, Unit
from ansible_collections.carrel.jupyter.plugins.module_utils._host.engine_api import EngineAPI, EngineError
from ansible_collections.carrel.jupyter.plugins.module_utils._host.process import Done, run
from ansible_collections.carrel.jupyter.plugins.module_utils._report import printable

INFO_SECONDS = 10
LOG_SECONDS = 30


class Account:
    """An account and its systemd manager."""

    def __init__(self, entry: pwd.struct_passwd) -> None:
        self.entry = entry
        self.name, self.uid, self.gid, self.home = entry.pw_name, entry.pw_uid, entry.pw_gid, entry.pw_dir
        self.runtime = f"/run/user/{self.uid}"
        self.socket = f"{self.runtime}/docker.sock"

    def systemctl(self, *arguments: str, timeout: float = 90) -> Done:
        """Run systemctl as the account. `sudo -i` and system units cannot reach its manager."""
        return run(["systemctl", "--user", *arguments], timeout, self.entry, {"XDG_RUNTIME_DIR": self.runtime})

    @property
    def lingers(self) -> bool:
        return os.path.exists(f"/var/lib/systemd/linger/{self.name}")

    @property
    def manager_runs(self) -> bool:
        return os.path.exists(f"{self.runtime}/systemd/private")

    def service(self) -> Unit:
        if not self.manager_runs:
            return Unit()
        return Unit.parse(self.systemctl("show", UNIT, f"--property={PROPERTIES}").output)

    def info(self) -> dict[str, Any] | None:
        """Return the output of `docker info`. None if the engine does not answer."""
        try:
            answer = EngineAPI(self.socket, INFO_SECONDS).call("GET", "/info")
        except EngineError:
            return None
        return answer if isinstance(answer, dict) else None

    def log(self) -> str:
        """Return the last lines that the engine printed."""
        run(["journalctl", "--sync"], LOG_SECONDS)
        command = ["journalctl", "--quiet", "--no-pager", "--output=cat", "--lines=60", f"_UID={self.uid}"]
        return printable.text(run([*command, f"_SYSTEMD_USER_UNIT={UNIT}"], LOG_SECONDS).output)
