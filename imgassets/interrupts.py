"""Ctrl-C and SIGTERM: the first one ends the work in order, within seconds; a second one ends the process at once."""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

CODE = 130
"""Exit code of a command that was interrupted."""
LIMIT = 4.0
"""Seconds that the work has to end in order: a thread that waits for a server, or a long call of a library, may not.
The process then ends as if it had been killed, which costs no more than the partition in work."""
WORDS = 0.7
"""Seconds for what has to be said before a process ends like that."""
ECHO = 0.3
"""Seconds in which signals are one: a terminal and the program that started this one both send it."""
SIGNALS = (signal.SIGINT, signal.SIGTERM)
OVER = b"\0"

last_words: list[Callable[[], object]] = []
"""What is called, by another thread, before the process ends out of order."""


class _Watch:
    """Takes note of signals as they come: handlers are exchanged by Dagster, run late in a long call, or not at all."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        for end in (self.reader, self.writer):
            os.set_blocking(end, False)
        self._lock = threading.Lock()
        self._first: float | None = None
        self._again = self._over = False
        self._terminal = os.dup(2)  # a step's stderr goes to a file

    @property
    def asked(self) -> bool:
        """Whether a signal has come."""
        with self._lock, suppress(BlockingIOError):
            for number in os.read(self.reader, 64):
                self._over |= number == OVER[0]
                if number in SIGNALS:
                    now = time.monotonic()
                    self._first = self._first or now
                    self._again |= now - self._first > ECHO
        return self._first is not None

    def stand_by(self) -> None:
        """End the process, be the work over or not, `LIMIT` seconds after a signal or when there is another."""
        while not self.asked:
            if self._over:
                os.close(self.reader)
                os.close(self._terminal)
                return
            select.select([self.reader], [], [])
        assert self._first
        while not self._again and (left := self._first + LIMIT - time.monotonic()) > 0:
            if self._over:  # the work is, the process is not yet: it may wait for threads
                time.sleep(left)
            select.select([self.reader], [], [], left)
            self.asked  # noqa: B018  (takes note)
        speaker = threading.Thread(target=lambda: [say() for say in last_words], daemon=True)
        speaker.start()
        speaker.join(WORDS)
        with suppress(OSError):
            os.write(self._terminal, b"\nEnded at once; the next run takes back what was begun.\n")
        os._exit(CODE)


_watch: _Watch | None = None


def asked() -> bool:
    """Whether this process has been asked to stop."""
    return _watch is not None and _watch.asked


@contextmanager
def watched() -> Iterator[None]:
    """Within it Ctrl-C and SIGTERM raise `KeyboardInterrupt`, and are not forgotten by whoever handles them otherwise.

    The process then ends within 5 s, and at once if it gets another one.
    """
    global _watch
    if _watch is not None or threading.current_thread() is not threading.main_thread():
        yield
        return
    watch = _watch = _Watch()
    before = {number: signal.signal(number, signal.default_int_handler) for number in SIGNALS}
    fd = signal.set_wakeup_fd(watch.writer, warn_on_full_buffer=False)
    threading.Thread(target=watch.stand_by, name="imgassets-signals", daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(fd)
        for number, handler in before.items():
            signal.signal(number, handler)
        _watch = None
        os.write(watch.writer, OVER)
        os.close(watch.writer)


@contextmanager
def in_order() -> Iterator[None]:
    """Within it SIGTERM, where it would kill this process, does so only when the work has taken back what it began."""
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    except _Terminated:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)
        raise
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


class _Terminated(KeyboardInterrupt):
    """SIGTERM."""


def _terminate(*_: object) -> None:
    raise _Terminated


def _forget() -> None:
    """A child of this process has signals of its own."""
    global _watch
    if _watch is not None:
        _watch = None
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


os.register_at_fork(after_in_child=_forget)
