"""Rate and time left, said every few seconds: long work that is silent looks like work that hangs."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextvars import ContextVar

EVERY = 5.0
"""Seconds between two lines in a log."""
OFTEN = 0.5
"""Seconds between two things that are told."""

listener: ContextVar[Callable[[str], None] | None] = ContextVar("listener", default=None)
"""Told in a few words what the work in this process is at: a progress bar."""


def tell(text: str) -> None:
    """Tell the listener, if there is one."""
    if (listening := listener.get()) is not None:
        listening(text)


class Progress:
    """Counts bytes and says how far the work is.

    `say` takes one line of text, e.g. a logger's `info`. The total may be unknown, and may become known later.
    """

    def __init__(self, say: Callable[[str], object], what: str, total: int | None = None) -> None:
        self._say = say
        self._what = what
        self.total = total
        self._done = 0
        self._start = self._said = self._told = time.monotonic()
        self._listener = listener.get()  # bytes may be counted in other threads, which have none

    def __call__(self, nbytes: int) -> None:
        """Count `nbytes` more."""
        self._done += nbytes
        now = time.monotonic()
        if now - self._said >= EVERY:
            self._said = now
            self._say(f"{self._what}: {self._far(now)}")
        if self._listener is not None and now - self._told >= OFTEN:
            self._told = now
            self._listener(self._far(now))

    def _far(self, now: float) -> str:
        rate = self._done / (now - self._start)
        text = f"{self._done / 1e6:,.0f} MB, {rate / 1e6:,.0f} MB/s"
        if self.total:
            left = max(self.total - self._done, 0) / max(rate, 1)
            text += f", {100 * min(self._done / self.total, 1):.0f} %, {left:.0f} s left"
        return text
