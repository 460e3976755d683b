"""Waiting for whoever is making the same partition."""

import time
from collections.abc import Callable
from typing import TypeVar

from imgassets.errors import Taken
from imgassets.progress import tell

T = TypeVar("T")

BOUND = 180.0
"""Seconds to wait at most: more than a file server needs to free the locks of a host that died."""
POLL = 0.2
"""Seconds between two tries."""
TELL = 60.0
"""Seconds between two lines that say so."""


def patiently(attempt: Callable[[], T], say: Callable[[str], object]) -> T:
    """What `attempt` gives, tried again and again while somebody else is writing there; `say` takes a line of text.

    Raises:
        Taken: after `BOUND` seconds that is still so.
    """
    began, told = time.monotonic(), -TELL
    while True:
        try:
            return attempt()
        except Taken as taken:
            waited = time.monotonic() - began
            if waited >= BOUND:
                raise
            if waited - told >= TELL:
                told = waited
                say(text := f"waiting, {BOUND - waited:.0f} s at most: {taken}")
                tell(text)
        time.sleep(POLL)
