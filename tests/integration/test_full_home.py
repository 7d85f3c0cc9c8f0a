# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whoever has no room left can still start a server and make room: on a small file system instead of a limit."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import hub_image
import pytest
from hub_site import HubSite, person
from lab_site import LabSite
from module_runner import open_to_all

from testbed.client import Lab
from testbed.run import run

HOME = "/home/jovyan"
MB = 1 << 20
# The first leaves a folder of IPython's; the second notes that it has no settings of an old version.
STARTS = (False, False, True)


@contextlib.contextmanager
def small(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    run("mount", "-t", "tmpfs", "-o", f"size={8 * MB},mode=0700,uid=1000,gid=100", "tmpfs", folder)
    try:
        yield
    finally:
        run("umount", "--lazy", folder)


def fill(folder: Path) -> None:
    with contextlib.suppress(OSError), (folder / "large").open("wb", buffering=0) as stream:
        os.fchown(stream.fileno(), 1000, 100)
        while stream.write(bytes(4096)):
            pass
    assert os.statvfs(folder).f_bavail == 0


def clean_up(lab: Lab, folder: Path) -> None:
    assert lab.run("print(6 * 7)").strip() == "42"
    assert lab.request("DELETE", "api/contents/large").status_code == 204
    assert os.statvfs(folder).f_bavail * 4096 > 4 * MB
    lab.put("small.txt", "there is room again")


def test_a_lab(tmp_path: Path) -> None:
    folder = open_to_all(tmp_path) / "data" / "notebooks"
    image, name = os.environ["CARREL_TEST_LAB_IMAGE"], f"carrel-test-full-{os.getpid()}"
    with small(folder):
        keys = {"image": image, "notebooks": HOME, "password": "correct horse"}
        for full in STARTS:
            if full:
                fill(folder)
            with LabSite(tmp_path, name, **keys) as site, site.lab().login("correct horse") as lab:
                assert lab.run("print(1)").strip() == "1"
                if full:
                    clean_up(lab, folder)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[HubSite]:
    images = hub_image.build(), os.environ["CARREL_TEST_LAB_IMAGE"]
    limits = {"memory": None, "disk": 10 * MB, "disk_warning": None}
    site = HubSite(open_to_all(tmp_path), f"carrel-test-full-hub-{os.getpid()}", images, home=HOME, limits=limits)
    site.people, site.passwords = {"ada": person("ada", disk=10 * MB)}, {"ada": "first-ada"}
    site.mounts["user"][0]["target"] = HOME
    with small(site.folder / "users/ada/home"):
        try:
            site.up()
            yield site
        finally:
            site.down()


def test_a_user_of_a_hub_who_reads_it_on_the_page(hub: HubSite) -> None:
    home = hub.folder / "users/ada/home"
    with hub.session().login("ada", "first-ada") as session:
        assert "on disk, as of" not in session.request("GET", "home").text
        for full in STARTS:
            if full:
                fill(home)
            with session.spawn() as lab:
                assert lab.run("print(1)").strip() == "1"
                if full:
                    clean_up(lab, home)
            session.stop()
        use = '{"version": 1, "users": {"ada": {"bytes": 9961472, "measured": "2030-01-09T03:37:00+00:00"}}}'
        (hub.folder / "hub/disk.json").write_text(use)
        text = session.request("GET", "home").text
        assert "Your folders take 9.5 MiB of 10.0 MiB on disk, as of 2030-01-09 03:37 UTC." in text
