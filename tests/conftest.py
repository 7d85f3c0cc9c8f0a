# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Makefile puts this checkout on PYTHONPATH as ansible_collections.carrel.jupyter."""

import os

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
