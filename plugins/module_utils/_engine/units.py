# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What to do with a systemd unit in the state that it is found in."""

from __future__ import annotations

from dataclasses import dataclass

PROPERTIES = (
    "LoadState,ActiveState,UnitFileState,NeedDaemonReload,ExecMainStartTimestampMonotonic,InactiveExitTimestampMonotonic,"
    "FragmentPath,DropInPaths"
)


@dataclass(frozen=True)
class Unit:
    """A unit, as `systemctl show` describes it."""

    load: str = "not-found"
    active: str = "inactive"
    at_boot: str = ""  # enabled, disabled, static and so on
    needs_reload: bool = False
    # seconds of the monotonic clock; 0: not started
    started: float = 0.0
    files: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Unit:
        values = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
        # Only services have a main process.
        started = (values.get(f"{moment}TimestampMonotonic") for moment in ("ExecMainStart", "InactiveExit"))
        paths = f"{values.get('FragmentPath', '')} {values.get('DropInPaths', '')}"
        return cls(
            load=values.get("LoadState", "not-found"),
            active=values.get("ActiveState", "inactive"),
            at_boot=values.get("UnitFileState", ""),
            needs_reload=values.get("NeedDaemonReload") == "yes",
            started=next((int(moment) / 1e6 for moment in started if moment and moment != "0"), 0.0),
            files=tuple(paths.split()),
        )

    @property
    def up(self) -> bool:
        return self.active in ("active", "activating", "reloading", "refreshing")

    def step(self, configured: float) -> str | None:
        """How to make it run with the configuration of that monotonic second: start, restart or nothing."""
        if not self.up:
            return "start"
        return "restart" if self.started < configured else None
