# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""kill -9 of a reset at everything that it does. Runs as root."""

from __future__ import annotations

import fcntl
import json
import shutil
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from reset_site import LabSite

from testbed.patience import PATIENCE, until

# Stands in for docker and kills the program, the parent of timeout(1), at the Nth moment: when it begins a command that
# changes something, which goes on alone, or when it looks at something after it changed something itself.
DOCKER = """#!/bin/sh
case "$*" in
  *" exec "*|*" run "*|*" tag "*|*" up "*|*" stop "*|*" rm "*) now="$*" ;;
  *) now=$(ls {state}; cat {folder}/token; grep '"step"' {state}/state.json) ;;
esac
if test "$now" != "$(cat {bin}/last)"; then
  moment=$(($(cat {bin}/moment) + 1)); echo $moment > {bin}/moment; echo "$now" > {bin}/last
  if test $moment = {at}; then kill -9 $(cut -d' ' -f4 /proc/$PPID/stat); fi
fi
exec {docker} "$@"
"""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[LabSite]:
    site = LabSite(tmp_path, rotate_token=True, notice_seconds=1)
    yield site
    site.remove()


def killed_at(site: LabSite, at: int) -> bool:
    """Whether the reset was killed; False if it ended before that moment."""
    folder = site.folder / "bin"
    folder.mkdir(exist_ok=True)
    places = {"state": site.state_directory, "folder": site.folder, "bin": folder, "docker": shutil.which("docker")}
    (folder / "docker").write_text(DOCKER.format(at=at, **places))
    (folder / "docker").chmod(0o755)
    (folder / "moment").write_text("0")
    (folder / "last").write_text("")
    done = site.reset(path=str(folder))
    assert done.code in (0, -9), done.output
    return done.code == -9


def wait_for_the_lock(site: LabSite) -> None:
    """The command that keeps running holds it alone."""
    with (site.state_directory / "lock").open() as lock:

        def free() -> bool:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

        until(free, "the lock is let go")


def answer(site: LabSite, path: str) -> int:
    token = (site.folder / "token").read_text().strip()
    request = urllib.request.Request(site.url + path, headers={"Authorization": f"token {token}"})
    with urllib.request.urlopen(request, timeout=PATIENCE) as response:
        return int(response.status)


def test_kill(site: LabSite) -> None:
    assert site.reset().code == 0
    homes = site.homes()
    steps = set()
    at = 1
    while killed_at(site, at):
        assert answer(site, "api") == 200
        wait_for_the_lock(site)
        assert answer(site, "api") == 200
        state = site.state()
        assert state["result"] == "running"
        steps.add(state["step"])
        plain = site.reset()
        assert plain.code == 0, plain.output
        assert f"the last reset was interrupted at the step {state['step']}" in plain.output
        assert [entry["result"] for entry in plain.state["history"][:2]] == ["done", "interrupted"]
        assert list(site.containers()) == [f"lab-{site.asked()}"]
        assert site.homes() == homes  # so the notice is gone, too
        assert answer(site, "api/status") == 200, "the token in token_file is not the server's"
        assert (
            json.loads((site.folder / "server" / "jupyter_server_config.json").read_text())["ServerApp"]["token"]
            == (site.folder / "token").read_text().strip()
        )
        at += 1
    assert steps == {"recover", "tell", "people", "start", "switch", "stop"}
