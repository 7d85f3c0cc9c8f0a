# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Makefile puts this checkout on PYTHONPATH as ansible_collections.carrel.jupyter."""

from __future__ import annotations

import os
from collections import Counter

import pytest
from hypothesis import HealthCheck, settings

# what these modules assert is explained when it fails, as in the tests
pytest.register_assert_rewrite(
    "tests.e2e.resets", "ansible_runner", "hub_site", "lab_site", "module_runner", "plan_helpers"
)
# Tests look for secrets in what modules are given; from 2.21 on, ansible-core does not show that by itself with -vvv.
os.environ["ANSIBLE_INJECT_INVOCATION"] = "true"

# A busy machine is no failure.
settings.register_profile("carrel", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("carrel")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """With --durations: how long the files took, and the workers, whose files or hosts should take equally long."""
    if terminalreporter.config.option.durations is None:
        return
    files: Counter[str] = Counter()
    workers: Counter[str] = Counter()
    for report in (report for reports in terminalreporter.stats.values() for report in reports):
        if isinstance(report, pytest.TestReport):
            files[report.nodeid.partition("::")[0]] += report.duration
            workers[getattr(report, "worker_id", "")] += report.duration
    terminalreporter.section("slowest files")
    for file, seconds in files.most_common(25):
        terminalreporter.write_line(f"{seconds:7.0f}s {file}")
    for worker, seconds in sorted(workers.items()):
        terminalreporter.write_line(f"{seconds:7.0f}s in all {worker}".rstrip())
