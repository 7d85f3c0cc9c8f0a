# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The outer Docker engine: the machine's own if one answers, else one that is started here and stopped again.

Several programs may use it at once. Each keeps a shared lock meanwhile, and the last one stops the engine.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import IO

from testbed.patience import until

from .run import Failure, alone, run, step, succeeds

PID_FILE = Path("/run/carrel-testbed-dockerd.pid")
LOCK_FILE = Path(tempfile.gettempdir()) / "carrel-testbed-engine.lock"
LOG_FILE = Path("/var/log/carrel-testbed-dockerd.log")


def install_packages(*packages: str) -> None:
    """Install those of the Debian packages that are missing. Several programs may call it at once."""

    def missing() -> list[str]:
        return [package for package in packages if not succeeds("dpkg", "-s", package)]

    if not missing():
        return
    if os.geteuid() or not shutil.which("apt-get"):
        raise Failure(f"please install {' '.join(missing())}, or run this as root on Debian or Ubuntu")
    with alone("packages"):
        if wanted := missing():
            _install(wanted)


def _install(packages: list[str]) -> None:
    with step(f"installing {' '.join(packages)}"):
        run("apt-get", "-qq", "update")
        run(
            "env", "DEBIAN_FRONTEND=noninteractive",
            "apt-get", "-qq", "-o", "Dpkg::Options::=--force-unsafe-io", "install", "-y", "--no-install-recommends",
            *packages,
        )  # fmt: skip


def answers() -> bool:
    """Whether a Docker engine answers."""
    return bool(shutil.which("docker")) and succeeds("docker", "info")


def up() -> IO[str]:
    """Make sure that a Docker engine answers. As long as the returned file is open, no other program stops it."""
    lock = LOCK_FILE.open("w")
    fcntl.flock(lock, fcntl.LOCK_SH)
    if not answers():
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not answers():
            _start()
        fcntl.flock(lock, fcntl.LOCK_SH)
    return lock


def _start() -> None:
    install_packages("docker.io", "iptables")
    if not shutil.which("docker"):
        # from Debian 13 on a package of its own
        install_packages("docker-cli")
    if Path("/run/systemd/system").is_dir():
        with step("starting docker.service"):
            run("systemctl", "start", "docker")
    else:
        with step("starting dockerd"), LOG_FILE.open("w") as log:
            daemon = subprocess.Popen(
                ["dockerd"], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
            PID_FILE.write_text(str(daemon.pid))
            until(
                lambda: answers() or daemon.poll() is not None,
                lambda: f"dockerd runs (its log is {LOG_FILE}):\n{LOG_FILE.read_text()[-2000:]}",
                error=Failure,
            )
            if daemon.poll() is not None:
                raise Failure(f"dockerd ended; its log is {LOG_FILE}:\n{LOG_FILE.read_text()[-2000:]}")


def down() -> None:
    """Stop the engine, if it was started here and nobody uses it."""
    with LOCK_FILE.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        _stop()


def _stop() -> None:
    try:
        pid = int(PID_FILE.read_text())
        is_ours = b"dockerd" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except (OSError, ValueError):
        return
    if is_ours:
        with step("stopping dockerd"):
            os.kill(pid, signal.SIGTERM)
            until(lambda: b"dockerd" not in _cmdline(pid), f"dockerd (pid {pid}) stops", error=Failure)
    PID_FILE.unlink(missing_ok=True)


def _cmdline(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
