# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names on the command line of a playbook, such as those in jupyter_instances_only."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from ansible_collections.carrel.jupyter.plugins.module_utils._plan.nearest import nearest
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.problems import show


def names(text: str | None) -> list[str]:
    """Return the names in a text with commas between them."""
    return [name for part in (text or "").split(",") if (name := part.strip())]


def unknown(chosen: Iterable[str], known: Collection[str], kind: str = "instance") -> list[str]:
    """Return a text for each name that is not KNOWN, with a suggestion."""
    found = []
    for name in chosen:
        if name not in known:
            near = nearest(name, sorted(known))
            found.append(f"no {kind} is called {show(name)}" + (f" (did you mean {near}?)" if near else ""))
    return found
