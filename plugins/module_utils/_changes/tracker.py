# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One list of differences that answers `changed`, the diff and check mode alike."""

from __future__ import annotations

from typing import Any


class Tracker:
    """Compare first, then act: `if tracker.note(...) and not check_mode: apply()`."""

    def __init__(self) -> None:
        self._diffs: list[dict[str, str]] = []
        self.changed = False
        self.noted: list[tuple[str, object, object]] = []  # what differs, with both values

    def note(self, what: str, before: object, after: object, *, show: tuple[str, str] | None = None) -> bool:
        """Whether `what` must change. `show` replaces both values in the diff: for secrets and for binary files."""
        if before == after:
            return False
        self.changed = True
        self.noted.append((what, before, after))
        old, new = show or (_text(before), _text(after))
        if old != new:
            self._diffs.append({"before_header": what, "after_header": what, "before": old, "after": new})
        return True

    @property
    def diffs(self) -> list[dict[str, str]]:
        return self._diffs

    def result(self, **returned: Any) -> dict[str, Any]:
        """The arguments for exit_json."""
        return {"changed": self.changed, "diff": self._diffs, **returned}


def _text(value: object) -> str:
    return "" if value is None else str(value)
