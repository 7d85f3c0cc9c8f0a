# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Devices by CDI names. Harmless ones stand in for graphics cards, which these hosts do not have."""

from __future__ import annotations

import pytest

from testbed.client import Lab
from testbed.hub_client import SpawnError

from .conftest import Site, enter

PATHS = {"carrel.test/card=0": "/dev/fuse", "carrel.test/card=1": "/dev/net/tun"}


def cards(lab: Lab) -> list[str]:
    """What a kernel sees of them: the device, and the variable that the CDI file sets."""
    seen = lab.run(
        f"import os, stat\n"
        f"for name, path in {PATHS!r}.items():\n"
        f"    there = os.path.exists(path) and stat.S_ISCHR(os.stat(path).st_mode)\n"
        f"    print(name if there and 'CARREL_CARD_' + name[-1] in os.environ else '')\n"
    )
    return seen.split()


def test_a_lab_has_its_device_and_no_other(atlas: Site, tao: Site) -> None:
    with atlas.lab().login(atlas.secret) as lab:
        assert cards(lab) == ["carrel.test/card=0"]
    with tao.lab().login(tao.secret) as lab:
        assert cards(lab) == []


def test_each_server_has_a_card_to_itself_and_gives_it_back(hub: Site) -> None:
    with enter(hub, "ada") as ada, enter(hub, "prof") as prof:
        try:
            first = cards(ada.spawn())
            second = cards(prof.spawn())
            assert sorted(first + second) == sorted(PATHS)
            prof.stop()
            # As if a third server had taken it.
            image = hub.docker("inspect", "--format={{.Image}}", "class_ada").strip()
            labels = ("--label=carrel.instance=class", f"--label=carrel.gpus={second[0]}")
            hub.docker("create", "--name=taken", *labels, image, "true")
            try:
                with pytest.raises(SpawnError, match="needs a graphics card, and none of this hub"):
                    prof.spawn()
            finally:
                hub.docker("rm", "taken")
            assert cards(prof.spawn()) == second
        finally:
            for session in (ada, prof):
                session.stop()
