# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The outer engine and the test bed's lab image, unless the environment names others; once for all workers."""

from __future__ import annotations

import os
import shutil
import tempfile
from typing import IO

import pytest

from testbed import engine, hosts, images

ENGINE = pytest.StashKey[IO[str]]()
FOLDER = pytest.StashKey[str]()
# Few tests that take minutes: they come first, so that no worker begins with one while the others have nothing left.
LONG = ("test_reset_kill", "test_image_kernels", "test_image_role", "test_hub_site")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput") and config.option.basetemp is None:
        # Each pytest that starts closes the folder that all have in common, which tests of others had opened to
        # containers (module_runner.open_to_all).
        config.stash[FOLDER] = config.option.basetemp = tempfile.mkdtemp(prefix="carrel-integration-")
    if not hasattr(config, "workerinput") and "CARREL_TEST_LAB_IMAGE" not in os.environ:
        config.stash[ENGINE] = engine.up()
        os.environ["CARREL_TEST_LAB_IMAGE"] = images.build("lab", parent=images.base())


def pytest_unconfigure(config: pytest.Config) -> None:
    if FOLDER in config.stash:
        # What a test that failed has left, such as a mount, is no reason to lose the report of that failure.
        shutil.rmtree(config.stash[FOLDER], ignore_errors=True)
    if ENGINE in config.stash:
        config.stash[ENGINE].close()
        if not hosts.containers():
            engine.down()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.stem not in LONG)
