# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What `make docs` writes from the declarations of the inventory's keys is there as it would write it now."""

from __future__ import annotations

from testbed import reference


def test_what_is_written_from_the_declarations_is_up_to_date() -> None:
    assert reference.stale() == [], "run make docs"
