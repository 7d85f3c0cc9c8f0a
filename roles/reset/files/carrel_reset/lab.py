# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Labs: a second server is started beside the first, Apache goes over, the first is stopped."""

from __future__ import annotations

from .run import Run


class Lab:
    """See Kind in run.py."""

    def __init__(self, run: Run) -> None:
        self.run = run
