# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests at a steady rate, whatever becomes of the ones before, and what a person would have noticed of them."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType

import requests

TIMEOUT_SECONDS = 10
WORKERS = 40


@dataclass
class Load:
    """Ask `url` from __enter__ to __exit__; then `failures` and `longest_gap` say how it went.

    A gap is the time from one good answer to the next. An answer is good with status 200.
    """

    url: str
    verify: str | bool
    cookies: dict[str, str] = field(default_factory=dict)
    per_second: float = 20
    timeout_seconds: float = TIMEOUT_SECONDS
    answers: list[tuple[float, str]] = field(default_factory=list)

    def __enter__(self) -> Load:
        self._stop = threading.Event()
        self._sessions = threading.local()
        self._threads = ThreadPoolExecutor(WORKERS)
        self._ticker = threading.Thread(target=self._tick)
        self._began = time.monotonic()
        self._ticker.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._ticker.join()
        self._threads.shutdown()
        self._ended = time.monotonic()

    @property
    def failures(self) -> list[str]:
        """What went wrong, in order."""
        return [what for _unused, what in sorted(self.answers) if what != "200"]

    @property
    def longest_gap(self) -> float:
        """Seconds without a good answer."""
        good = sorted(at for at, what in self.answers if what == "200")
        edges = [self._began, *good, self._ended]
        return max(later - earlier for earlier, later in zip(edges, edges[1:]))

    def _tick(self) -> None:
        due = self._began
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            self._threads.submit(self._ask)
            due += 1 / self.per_second

    def _ask(self) -> None:
        if not hasattr(self._sessions, "http"):
            self._sessions.http = requests.Session()
            self._sessions.http.trust_env = False
            self._sessions.http.cookies.update(self.cookies)
            # A server may close an idle connection just when it is used; then browsers ask again, requests does not.
            self._sessions.http.headers["Connection"] = "close"
        try:
            answer = self._sessions.http.get(
                self.url, verify=self.verify, timeout=self.timeout_seconds, allow_redirects=False
            )
            what = str(answer.status_code)
        except requests.RequestException as error:
            what = type(error).__name__
        self.answers.append((time.monotonic(), what))
