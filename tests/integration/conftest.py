# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The outer engine and the test bed's lab image, unless the environment names others; once for all workers."""

from __future__ import annotations

import os
import shutil
import tempfile
from typing import IO

import pytest

from testbed import engine, hosts, images, leftovers

ENGINE = pytest.StashKey[IO[str]]()
FOLDER = pytest.StashKey[str]()
# Files that take minutes, the longest first, as runs say at their end: they come before all others, so that no worker
# begins with one while the others have nothing left.
LONG = (
    "test_hub_trial", "test_reset_kill", "test_reset_lab", "test_image_kernels", "test_hub_site",
    "test_image_compatibility", "test_image_role", "test_reset_hub", "test_hub_together", "test_backup_restore",
    "test_backup", "test_image_sources", "test_hub_apart", "test_hub_domains", "test_hub_several", "test_reset_smoke",
)  # fmt: skip


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
    if not hasattr(config, "workerinput"):
        leftovers.remove_empty()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order = {file: place for place, file in enumerate(LONG)}
    items.sort(key=lambda item: order.get(item.path.stem, len(LONG)))
