# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a newer version of the collection has set up is not overwritten unless that is allowed."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.version import VERSION, order
from plan_helpers import HOST, good, host, lab, plan


def test_versions_are_compared_by_their_numbers() -> None:
    versions = ["1.0.0", "0.10.1", "0.10.0", "0.10.0-beta.1", "0.9.0", "nothing"]
    assert sorted(versions, key=order, reverse=True) == versions
    assert sorted(versions, key=order) == versions[::-1]
    assert order("1.0.0+a") == order("1.0.0")


@pytest.mark.parametrize("version", [VERSION, "0.0.1", "main", "", 7, None])
def test_what_this_or_an_older_version_set_up_is_planned(version: Any) -> None:
    good([lab()], current=host(instances={"tao": {"collection": version, "engine": "tao"}}))


def test_a_newer_one_stops_the_plan_also_of_instances_that_left_the_inventory() -> None:
    current = host(instances={"gone": {"collection": "99.0.0"}})
    result, problems = plan([lab()], current=current)
    assert result is None and [problem.id for problem in problems] == ["downgrade"]
    good([lab()], current=current, allow_downgrade=True)
    good([lab()], current=HOST)
