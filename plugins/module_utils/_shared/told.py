# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Errors whose texts may be shown. Those of other errors may contain secrets."""

from __future__ import annotations


class Told(Exception):
    """The text says what is wrong, where and what to do. It contains no secret."""
