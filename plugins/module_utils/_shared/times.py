# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read times that engines, accounts and containers have written."""

from __future__ import annotations

import re
from datetime import datetime, timezone


def parse_time(value: object) -> datetime | None:
    """Parse a time in ISO 8601, and return it in UTC, which is also meant if it names no zone.

    None for anything else, and for the first and last hours of the calendar in zones in which UTC has another year.
    """
    if not isinstance(value, str):
        return None
    # Python before 3.11 accepts neither a Z nor more than six digits.
    normal = re.sub(r"(\.\d{1,6})\d*", lambda found: found[1].ljust(7, "0"), value).replace("Z", "+00:00")
    try:
        moment = datetime.fromisoformat(normal)
        return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).astimezone(timezone.utc)
    except (ValueError, OverflowError):
        return None
