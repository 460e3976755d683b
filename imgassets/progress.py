"""Rate and time left, said in the log every few seconds: long work that is silent looks like work that hangs."""

from __future__ import annotations

import time
from collections.abc import Callable

EVERY = 5.0
"""Seconds between two lines."""


class Progress:
    """Counts bytes and says how far the work is.

    `say` takes one line of text, e.g. a logger's `info`. The total may be unknown, and may become known later.
    """

    def __init__(self, say: Callable[[str], object], what: str, total: int | None = None) -> None:
        self._say = say
        self._what = what
        self.total = total
        self._done = 0
        self._start = self._last = time.monotonic()

    def __call__(self, nbytes: int) -> None:
        """Count `nbytes` more."""
        self._done += nbytes
        now = time.monotonic()
        if now - self._last >= EVERY:
            self._last = now
            self._say(self._line(now - self._start))

    def _line(self, seconds: float) -> str:
        rate = self._done / seconds
        line = f"{self._what}: {self._done / 1e6:,.0f} MB, {rate / 1e6:,.0f} MB/s"
        if self.total:
            left = max(self.total - self._done, 0) / max(rate, 1)
            line += f", {100 * min(self._done / self.total, 1):.0f} %, {left:.0f} s left"
        return line
