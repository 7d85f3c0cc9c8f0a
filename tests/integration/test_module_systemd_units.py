# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""systemd_units with a real systemd: a manager of a user, in a mount namespace, because systemd may not run here."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import module_runner
import pytest

from testbed.patience import until

SYSTEMD = "/lib/systemd/systemd"
pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not os.path.exists(SYSTEMD), reason="only root makes a mount namespace, and systemd is needed"
)
BOOTED = "mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/system /run/user/0 && exec "


class Manager:
    """Units are files in `folder`. The command systemctl asks this manager."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "systemd" / "user"
        self.folder.mkdir(parents=True)
        program = folder / "systemctl"
        program.write_text('#!/bin/sh\nexec /usr/bin/systemctl --user "$@"\n')
        program.chmod(0o755)
        environment = {
            **os.environ, "XDG_RUNTIME_DIR": "/run/user/0", "XDG_CONFIG_HOME": str(folder),
            "PATH": f"{folder}:{os.environ['PATH']}",
        }  # fmt: skip
        command = ["unshare", "--mount", "--propagation=private", "sh", "-c", f"{BOOTED} {SYSTEMD} --user"]
        self.log = (folder / "log").open("wb")
        self.process = subprocess.Popen(
            [*command, "--unit=basic.target"], env=environment, stdout=self.log, stderr=self.log
        )
        variables = [f"{key}={environment[key]}" for key in ("XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "PATH")]
        self.enter = ("nsenter", "--mount", f"--target={self.process.pid}", "env", *variables)

    def systemctl(self, *arguments: str) -> str:
        return subprocess.run(
            [*self.enter, "systemctl", *arguments], capture_output=True, text=True, check=False
        ).stdout.strip()

    def write(self, name: str, text: str) -> str:
        (self.folder / name).write_text(f"{text}\n[Install]\nWantedBy=default.target\n")
        return name

    def given(self, *names: str, reads: tuple[str, ...] = (), read: tuple[str, ...] = ()) -> dict[str, Any]:
        return {"units": [{"name": name, "reads": list(reads)} for name in names], "read": list(read)}

    def run(self, arguments: dict[str, Any], check: bool = False) -> dict[str, Any]:
        return module_runner.run("systemd_units", arguments, check, self.enter)

    def four_runs(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Check, real, check, real: the first two say the same, the others change nothing."""
        answers = [self.run(arguments, check) for check in (True, False, True, False)]
        assert [answer.get("changed") for answer in answers] == [True, True, False, False], answers
        assert answers[0]["units"] == answers[1]["units"]
        return answers[1]


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(tmp_path)
    try:
        until(lambda: manager.systemctl("is-active", "basic.target") == "active", "the manager runs")
        yield manager
    finally:
        manager.process.terminate()
        manager.process.wait(30)
        manager.log.close()


def shown(manager: Manager, name: str, what: str) -> str:
    return manager.systemctl("show", f"--property={what}", "--value", name)


def test_units_of_each_kind_are_started_and_restarted_once_their_files_are_newer(
    manager: Manager, tmp_path: Path
) -> None:
    """A run was killed after it had written them."""
    names = (
        manager.write("x.timer", "[Timer]\nOnBootSec=10h"),
        manager.write("y.socket", f"[Socket]\nListenStream={tmp_path}/socket\nAccept=yes"),
        manager.write("z.path", "[Path]\nPathChanged=/nowhere/at/all"),
        manager.write("w.service", "[Service]\nExecStart=sleep 1000"),
    )
    for name in ("x.service", "y@.service", "z.service"):
        manager.write(name, "[Service]\nType=oneshot\nExecStart=true")
    given = manager.given(*names)
    assert manager.four_runs(given)["units"] == dict.fromkeys(names, "start")
    assert [manager.systemctl("is-enabled", name) for name in names] == ["enabled"] * 4
    began = [int(shown(manager, name, "ActiveEnterTimestampMonotonic")) for name in names]
    time.sleep(0.02)  # as precise as the times of files are
    for name in names:
        manager.write(name, (manager.folder / name).read_text() + "\n[Unit]\nDescription=new")
    assert shown(manager, "x.timer", "NeedDaemonReload") == "yes"
    assert manager.four_runs(given)["units"] == dict.fromkeys(names, "restart")
    for name, old in zip(names, began):
        assert int(shown(manager, name, "ActiveEnterTimestampMonotonic")) > old
        assert (shown(manager, name, "NeedDaemonReload"), shown(manager, name, "Description")) == ("no", "new")


def test_a_unit_restarts_for_what_it_reads_and_for_nothing_else(manager: Manager, tmp_path: Path) -> None:
    name = manager.write("w.service", "[Service]\nExecStart=sleep 1000")
    template = manager.write("t@.service", "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=true")
    manager.systemctl("start", "t@1.service")
    settings = tmp_path / "settings"
    given = manager.given(name, reads=(str(settings),), read=("t@*.service",))
    manager.four_runs(given)
    time.sleep(0.02)
    settings.touch()
    assert manager.four_runs(given)["units"] == {name: "restart"}
    os.utime(settings, (time.time() + 3600,) * 2)  # the clock was set back
    assert manager.four_runs(given)["units"] == {name: "restart"}
    manager.write(template, (manager.folder / template).read_text() + "\n# new")
    answer = manager.four_runs(given)
    assert answer["units"] == {name: None}
    assert [entry["before_header"] for entry in answer["diff"]] == ["systemd's settings"]
    manager.systemctl("disable", "--now", name)
    answer = manager.four_runs(given)
    assert [entry["before_header"] for entry in answer["diff"]] == [f"{name} at boot", name]


def test_what_does_not_start_is_an_error_and_nothing_in_check_mode(manager: Manager) -> None:
    name = manager.write("f.service", "[Service]\nType=oneshot\nExecStart=false")
    said = manager.run(manager.given(name))["msg"]
    assert said.startswith("systemctl start f.service failed: Job for f.service failed")
    assert "`systemctl status UNIT`" in said
    later = manager.given("later.service")
    assert manager.run(later, check=True)["units"] == {"later.service": "start"}, "an earlier task would write it"
    assert "later.service does not exist" in manager.run(later)["msg"]
