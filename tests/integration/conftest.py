# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The outer engine and the test bed's lab image, unless the environment names others."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from testbed import engine, hosts, images


@pytest.fixture(scope="session", autouse=True)
def lab_image() -> Iterator[None]:
    if "CARREL_TEST_LAB_IMAGE" in os.environ:
        yield
        return
    engine.up()
    os.environ["CARREL_TEST_LAB_IMAGE"] = images.build("lab", parent=images.base())
    yield
    if not hosts.containers():
        engine.down()
