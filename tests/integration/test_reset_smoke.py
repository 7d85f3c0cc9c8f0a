# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Resets whose new server has to pass smoke notebooks, on the outer engine. Runs as root."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from reset_site import PREFIX, LabSite

from testbed.run import run, succeeds

BROKEN = 'raise ImportError("libgeo.so.1: cannot open shared object file \\x1b[31m")'
MODULE = "import sysconfig; print(sysconfig.get_path('purelib'))"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[LabSite]:
    made = LabSite(tmp_path, quick=False, start_timeout_seconds=90, people="ignore", smoke_seconds=60)
    yield made
    made.remove()


def notebooks(site: LabSite, *cells: str, seconds: int = 60) -> None:
    made = [{"number": number, "source": source, "raises": False} for number, source in enumerate(cells, 1)]
    entry = {"name": "notebooks/check.ipynb", "kernel": None, "cells": made}
    (site.folder / "server" / "smoke.json").write_text(json.dumps({"seconds": seconds, "notebooks": [entry]}))


def with_library(site: LabSite, source: str) -> str:
    """An image like the site's, with a library that holds SOURCE; it gets the site's tag."""
    folder = run("docker", "run", "--rm", "--entrypoint", f"{PREFIX}/bin/python", site.image, "-c", MODULE)
    container = run("docker", "create", site.image)
    file = site.folder / "geo.py"
    file.write_text(source + "\n")
    run("docker", "cp", str(file), f"{container}:{folder}/geo.py")
    image = run("docker", "commit", container)
    run("docker", "rm", container)
    run("docker", "tag", image, site.tag)
    return image


def tagged(site: LabSite) -> str:
    return run("docker", "image", "inspect", "--format", "{{.Id}}", site.tag)


def test_a_new_server_that_does_not_pass_is_not_given_to_people(site: LabSite) -> None:
    good = with_library(site, "answer = 42")
    notebooks(site, "import geo", "assert geo.answer == 42")
    first = site.reset()
    assert first.code == 0 and first.state["smoke"].startswith("notebooks/check.ipynb passed in "), first.output
    before, asked, homes = site.containers(), site.asked(), site.homes()

    broken = with_library(site, BROKEN)
    failed = site.reset()
    said = "a smoke notebook failed: notebooks/check.ipynb, cell 1: ImportError: libgeo.so.1: cannot open shared object"
    assert failed.code == 1 and said in failed.state["message"], failed.output
    assert failed.state["message"].endswith("The instance runs as before.") and "\x1b" not in failed.output
    assert failed.state["smoke"].startswith("failed: notebooks/check.ipynb, cell 1: ImportError")
    assert (site.containers(), site.asked(), tagged(site)) == (before, asked, good)

    # the same image, and what it can't do
    notebooks(site, "1", "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")
    died = site.reset()
    assert died.code == 1 and "cell 2: the kernel died" in died.state["smoke"], died.output
    notebooks(site, "while True: pass", seconds=40)
    endless = site.reset()
    assert endless.code == 1 and "cell 1: it does not end in time" in endless.state["smoke"], endless.output
    assert (site.containers(), site.asked(), tagged(site), site.homes()) == (before, asked, good, homes)

    notebooks(site, "import geo")
    again = site.reset()
    assert again.code == 0 and again.state["smoke"].startswith("notebooks/check.ipynb passed"), again.output
    assert site.asked() == 3 - asked and site.homes() == homes
    assert succeeds("docker", "image", "rm", "--force", broken)
