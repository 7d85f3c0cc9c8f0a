# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tests run in the order of their files, on the same lab."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from vm_lab import PASSWORD, URL, Machine

from testbed import pki
from testbed.__main__ import vm_up
from testbed.client import Lab


@pytest.fixture(scope="session")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    machine = Machine(tmp_path_factory.mktemp("vm"), vm_up())
    machine.output = machine.play()
    return machine


@pytest.fixture
def lab(machine: Machine) -> Iterator[Lab]:
    with Lab(URL, str(pki.CA), timeout=120) as lab:
        yield lab.login(PASSWORD)
