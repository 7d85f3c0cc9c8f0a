# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What failed in a run that goes on, as text: where, in which step, and what the step said."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

NO_MESSAGE = "no message; run again with -v"


def message(result: Mapping[str, Any]) -> str:
    """Return what a failed task said; of a loop, what each item that failed said."""
    items = [item for item in result.get("results") or [] if isinstance(item, Mapping) and item.get("failed")]
    said = list(dict.fromkeys(message(item) for item in items)) or [str(result.get("msg") or "").strip()]
    return "\n".join(said) or NO_MESSAGE


def instances(kind: str, host: str, number: int, failures: Sequence[Mapping[str, str]]) -> str:
    """Return a role's report on its instances; a failure has `name`, `task` and `message`."""
    names = dict.fromkeys(failure["name"] for failure in failures)
    parts = [f"{failure['name']}: {failure['task']}\n{_indented(failure['message'])}" for failure in failures]
    return "\n\n".join([f"{len(names)} of {number} instances of kind {kind} on {host} failed:", *parts])


def site(host: str, failures: Sequence[Mapping[str, str]], images: Sequence[Mapping[str, Any]]) -> str:
    """Return the report on a whole host, empty if nothing failed.

    A failure has `task` and `message`, which is all that is shown of a role's report. IMAGES: the declared that failed.
    """
    parts = []
    for image in images:
        names = ", ".join(image["instances"])
        parts.append(f"{names}: left as before, without the image {image['name']}\n{_indented(image['error'])}")
    for failure in failures:
        role = failure["task"].startswith("Report ")
        parts.append(failure["message"] if role else f"{failure['task']}\n{_indented(failure['message'])}")
    head = f"{host} is not as declared: the rest was gone through, this failed. Correct what it says and run again."
    return "\n\n".join([head, *parts]) if parts else ""


def _indented(text: str) -> str:
    return textwrap.indent(text.strip(), "  ")
