# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Project quotas, on a kernel that has them: tests/quotas runs there."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from testbed import quota_kernel

REASON = quota_kernel.missing()


@pytest.mark.skipif(REASON is not None, reason=str(REASON))
def test_on_a_kernel_with_project_quotas(tmp_path: Path) -> None:
    options = ("--color=no", "--noconftest", "-p", "no:cacheprovider")
    print(quota_kernel.call([sys.executable, "-m", "pytest", *options, "tests/quotas"], tmp_path, seconds=300))
