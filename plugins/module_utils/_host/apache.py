# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write files and control the service for the module apache_sites. The room _apache decides."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.carrel.jupyter.plugins.module_utils._apache.sites import (
    ApacheError,
    Listen,
    Node,
    parse_proc_net,
    relevant,
)
from ansible_collections.carrel.jupyter.plugins.module_utils._changes.file import File
from ansible_collections.carrel.jupyter.plugins.module_utils._host import files, process

ERROR_LOG = "/var/log/apache2/error.log"
UNIT = "apache2.service"
CERTIFICATES = "/var/lib/apache2/carrel-certificates.json"  # the certificates that Apache loaded last
SECONDS = 120
START_SECONDS = 300  # systemd itself waits 90 s for the end, and 90 s for the start
PROPERTIES = ["ActiveState", "UnitFileState", "MainPID", "StateChangeTimestampMonotonic"]


def run(command: Sequence[str], env: dict[str, str] | None = None, seconds: float = SECONDS) -> process.Done:
    try:
        return process.run(command, seconds, environment=env)
    except process.EndlessError as error:
        raise ApacheError(f"{error}.") from error
    except OSError as error:
        raise ApacheError(f"{command[0]} cannot be run: {error.strerror}.") from error


def write(path: str, node: Node) -> None:
    """Put a node in place by a rename, so that nobody sees half of it."""
    if node is None:
        if os.path.lexists(path):
            os.unlink(path)
        return
    if isinstance(node, File):
        if os.path.islink(path):  # the change replaces a link with a file
            os.unlink(path)
        files.write(path, node)
        return
    files.link(path, node.target)


def digests(paths: Sequence[str]) -> dict[str, str]:
    """Return the SHA-256 of each file that exists."""
    found = {}
    for path in paths:
        if os.path.exists(path):
            with open(path, "rb") as stream:
                found[path] = hashlib.sha256(stream.read()).hexdigest()
    return found


def newest(paths: Sequence[str], supplied: Sequence[str], now: float) -> tuple[float, str]:
    """Return the newest of what Apache reads; st_ctime, because copies that keep times have the old st_mtime.

    Certificates that others have SUPPLIED are compared by their content, too: those of the future are left out.
    """
    times = [(os.lstat(path).st_ctime, path) for path in paths if os.path.lexists(path)]
    others = [(os.stat(path).st_ctime, path) for path in supplied if os.path.exists(path)]
    return max([*times, *(each for each in others if each[0] <= now)])


def date_now(paths: Sequence[str], now: float) -> None:
    """Give what a wrong clock has dated in the future the time of now, so that it is loaded only once for that."""
    for path in paths:
        if os.path.lexists(path) and os.lstat(path).st_ctime > now:
            os.chown(path, -1, -1, follow_symlinks=False)  # changes only that time


def children(pid: int) -> set[int]:
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = (entry / "stat").read_text().rpartition(")")[2].split()[1]
            except OSError:
                continue
            if int(parent) == pid:
                found.add(int(entry.name))
    return found


def socket_inodes(pid: str) -> set[int]:
    found = set()
    try:
        for descriptor in os.listdir(f"/proc/{pid}/fd"):
            target = os.readlink(f"/proc/{pid}/fd/{descriptor}")
            if target.startswith("socket:["):
                found.add(int(target[8:-1]))
    except OSError:
        pass
    return found


@dataclass(frozen=True)
class Service:
    """The state of apache2.service in systemd."""

    active: bool
    enabled: bool
    main_pid: int
    loaded_at: float  # also of the last reload, which is a change of state, too

    @classmethod
    def read(cls) -> Service:
        result = run(["systemctl", "show", UNIT, f"--property={','.join(PROPERTIES)}"])
        found = dict(line.split("=", 1) for line in result.output.splitlines() if "=" in line)
        if result.code or not found:
            raise ApacheError(f"systemd does not answer about {UNIT}: {result.errors.strip()}")
        monotonic = int(found["StateChangeTimestampMonotonic"] or 0) / 1e6
        return cls(
            active=found["ActiveState"] in ("active", "reloading"),
            enabled=found["UnitFileState"] == "enabled",
            main_pid=int(found["MainPID"] or 0),
            loaded_at=time.time() - time.monotonic() + monotonic,
        )

    def held(self) -> list[tuple[Listen, int, bool]]:
        """Return the addresses with listeners, their sockets, and whether these belong to Apache."""
        own = socket_inodes(str(self.main_pid)) if self.active else set()
        tables = [table for table in ("/proc/net/tcp", "/proc/net/tcp6") if os.path.exists(table)]
        found = [socket for table in tables for socket in parse_proc_net(Path(table).read_text())]
        return [(listen, inode, inode in own) for listen, inode in found]

    def must_restart(self, listens: Sequence[Listen]) -> bool:
        """Whether Apache itself listens on an address that conflicts with a wanted one, so that a reload would fail."""
        mine = [listen for listen, _inode, own in self.held() if own]
        return any(want.overlaps(held) and want.bare != held.bare for want in listens for held in mine)

    def taken(self, listens: Sequence[Listen]) -> dict[Listen, str]:
        """Return the wanted ports that other programs use, and the programs.

        Apache ends if it cannot bind a port in a reload.
        """
        held = self.held()
        mine = {(listen.bare, listen.port) for listen, _inode, own in held if own}
        found = {}
        for want in listens:
            others = [inode for listen, inode, own in held if not own and want.overlaps(listen)]
            if others and (want.bare, want.port) not in mine:
                found[want] = holder(others[0])
        return found

    def load(self, action: str) -> None:
        """Start, restart or reload Apache, and wait until processes with the new configuration run."""
        offset = os.path.getsize(ERROR_LOG) if os.path.exists(ERROR_LOG) else 0
        before = children(self.main_pid) if self.active else set()
        if not self.active:
            run(["systemctl", "reset-failed", UNIT])
        result = run(["systemctl", action, UNIT], seconds=START_SECONDS)
        deadline = time.monotonic() + 30
        while result.code == 0 and time.monotonic() < deadline:
            now = Service.read()
            if not now.active:
                break
            if children(now.main_pid) - before:
                return
            time.sleep(0.05)
        raise ApacheError(f"Apache does not run with the new configuration: {complaint(offset)}")

    def recover(self) -> None:
        """Let Apache run as before, after the old files are back."""
        if not self.active:
            return
        if Service.read().active:
            run(["systemctl", "reload", UNIT], seconds=START_SECONDS)
        else:
            run(["systemctl", "reset-failed", UNIT])
            run(["systemctl", "start", UNIT], seconds=START_SECONDS)

    def enable(self) -> None:
        result = run(["systemctl", "enable", UNIT])
        if result.code:
            raise ApacheError(f"{UNIT} cannot be enabled: {result.errors.strip()}")


def holder(inode: int) -> str:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and inode in socket_inodes(entry.name):
            try:
                return f"{(entry / 'comm').read_text().strip()} (process {entry.name})"
            except OSError:
                break
    return "another program"


def complaint(offset: int) -> str:
    """Return Apache's complaint: from its configuration test, or from its log since OFFSET."""
    test = run(["/usr/sbin/apache2ctl", "-t"])
    if test.code:
        return relevant(test.errors)
    try:
        with open(ERROR_LOG, encoding="utf-8", errors="replace") as stream:
            stream.seek(offset)
            # Lines about clients have nothing to do with the configuration, and their URLs may name any site.
            lines = [line for line in stream if not any(mark in line for mark in (":notice]", ":warn]", "[client "))]
    except OSError:
        lines = []
    if not lines:  # systemd may know more: for example, Apache has its own /tmp, so a file in ours is missing
        lines = run(["journalctl", "-u", UNIT, "-n", "8", "-o", "cat", "--no-pager"]).output.splitlines(keepends=True)
    return relevant("".join(lines[-8:]))
