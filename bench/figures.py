# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is said of many measured times: the middle, and what all but a few stay below."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

SHARE = 0.95
TOLD = 3  # failures that are quoted


def percentile(values: Sequence[float], share: float = SHARE) -> float:
    """The smallest of the values that at least this share of them does not exceed."""
    return sorted(values)[max(math.ceil(share * len(values)), 1) - 1]


def spread(values: Sequence[float]) -> dict[str, float]:
    return {"median_s": round(statistics.median(values), 2), "p95_s": round(percentile(values), 2)}


def summary(visits: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Of visits with the seconds of each step, or with what `failed`. Times are those of visits without a failure."""
    whole = [visit for visit in visits if "failed" not in visit]
    said = list(dict.fromkeys(visit["failed"] for visit in visits if "failed" in visit))
    steps = {step: spread([visit[step] for visit in whole]) for step in (whole[0] if whole else ())}
    told = {"first_failures": said[:TOLD]} if said else {}
    return {"users": len(visits), "failed": len(visits) - len(whole), **told, **steps}


def times(ours: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Our times as multiples of another's, of the steps that both have."""
    return {
        step: {name.removesuffix("_s"): round(figure / (other[step][name] or 0.01), 2) for name, figure in mine.items()}
        for step, mine in ours.items()
        if isinstance(mine, Mapping) and step in other
    }
