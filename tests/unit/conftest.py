# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What several files of unit tests use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import backup_helpers
import pytest


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[backup_helpers.Engine]:
    with backup_helpers.at_work(tmp_path) as run:
        yield run
