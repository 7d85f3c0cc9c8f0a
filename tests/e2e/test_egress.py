# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where labs with egress connect to, tried from inside. The hosts have rebooted since their labs were set up."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator

import pytest

from testbed.patience import until

from .conftest import Site, answers, reset, run_on, sites

SECONDS = 5  # where packets are dropped, nothing ever answers
ALLOWED, OTHER, PORT = "203.0.113.2", "203.0.113.9", 9999  # addresses of the host, beyond the engine
# Which of the addresses take a connection, and whether a name of the engine's name server is found.
TRY = f"""
import json, socket
def takes(address):
    try:
        socket.create_connection((address, {PORT}), timeout={SECONDS}).close()
    except OSError:
        return False
    return True
def found():
    try:
        return bool(socket.getaddrinfo("deb.debian.org", 80))
    except OSError:
        return False
print(json.dumps([takes("{ALLOWED}"), takes("{OTHER}"), found()]))
"""


@pytest.fixture(scope="module", autouse=True)
def listener() -> Iterator[None]:
    host = sites()["atlas"].host
    for address in (ALLOWED, OTHER):
        run_on(host, "ip", "address", "add", f"{address}/32", "dev", "lo")
    command = ["python3", "-m", "http.server", "--bind", "0.0.0.0", "--directory", "/usr/share", str(PORT)]
    run_on(host, "systemd-run", "--unit=outside", *command)
    try:
        yield
    finally:
        run_on(host, "systemctl", "stop", "outside")
        for address in (ALLOWED, OTHER):
            run_on(host, "ip", "address", "delete", f"{address}/32", "dev", "lo")


@pytest.fixture(scope="module")
def names(listener: None) -> bool:
    """Whether names are found without limits, which depends on the machine."""
    allowed, other, names = tried(sites()["tao"])
    assert allowed and other, "a lab without egress connects everywhere"
    return names


def tried(site: Site) -> list[bool]:
    with site.lab().login(site.secret) as lab:
        found: list[bool] = json.loads(lab.run(TRY))
        return found


def test_a_lab_connects_where_its_egress_allows(atlas: Site, names: bool) -> None:
    assert tried(atlas) == [True, False, names]


def test_a_restart_and_a_reset_change_nothing(atlas: Site, names: bool) -> None:
    atlas.docker("restart", atlas.container_name())
    until(lambda: answers(atlas), "the restarted lab answers")
    assert tried(atlas) == [True, False, names]
    before = atlas.container_name()
    assert reset(atlas, "--people", "ignore")[0] == 0
    assert atlas.container_name() != before
    assert tried(atlas) == [True, False, names]


@pytest.mark.parametrize(
    ("allow", "expected"),
    [("", (False, False)), (f"{ALLOWED}/32", (True, False)), ("198.51.100.0/24,0.0.0.0/0", (True, True))],
    ids=["nowhere", "a network", "everywhere"],
)
def test_the_limits_hold_from_a_container_s_first_moment(
    atlas: Site, names: bool, allow: str, expected: tuple[bool, bool]
) -> None:
    said = started(atlas, f"--annotation=carrel.egress={allow}")
    assert json.loads(said) == [*expected, names and bool(allow)]


def test_a_container_whose_networks_are_not_known_does_not_start(atlas: Site) -> None:
    with pytest.raises(AssertionError, match=r"egress cannot be limited: .* annotation carrel\.egress"):
        started(atlas)


def started(site: Site, *options: str) -> str:
    """What a container says whose program tries to connect as soon as it runs."""
    image = site.docker("inspect", "--format={{.Image}}", site.container_name()).strip()
    command = ["--rm", "--runtime=carrel-egress", *options, "--entrypoint=python3", image, "-c", shlex.quote(TRY)]
    return site.docker("run", *command)
