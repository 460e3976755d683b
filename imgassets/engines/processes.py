"""Several partitions at once, each in a process of its own of this machine."""

from __future__ import annotations

import atexit
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Generator, Iterator, Mapping
from contextlib import suppress
from typing import Any, TypeVar

from imgassets import errors, interrupts
from imgassets.engines.local import InProcess
from imgassets.engines.work import Ended, Order, Work
from imgassets.errors import ImgassetsError, StoreError, Taken
from imgassets.granted import share

T = TypeVar("T")

LOOK = 0.5
"""Seconds between two looks whether somebody has asked to stop."""
PATIENCE = 2.0
"""Seconds that processes have to take back what they are at, before they are killed."""


class Processes:
    """`slots` partitions at once. Processes start when they are first needed, which takes them seconds, and stay for
    what comes next; a single partition, or one without an order, is made in this process."""

    def __init__(self, slots: int) -> None:
        self._slots = slots

    def outcomes(self, work: Work[T]) -> Generator[Ended[T], None, None]:
        """As `Engine` says, in the order in which they end."""
        if work.order is None or min(self._slots, len(work.keys)) < 2:
            yield from InProcess().outcomes(work)
            return
        crew = _crew(self._slots)
        try:
            yield from crew.outcomes(work, work.order)
        except BaseException:
            crew.close()
            raise


class _Hand:
    """A process that makes partitions, as its starter sees it."""

    def __init__(self, of: int) -> None:
        self._socket, theirs = socket.socketpair()
        command = [sys.executable, "-P", "-m", "imgassets.engines.worker", str(theirs.fileno()), str(os.getpid())]
        path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        environment = os.environ | share(of) | {"PYTHONPATH": path}
        with theirs:
            # its own session: a terminal's Ctrl-C is for the starter, which ends the others in order
            self.process = subprocess.Popen(
                command,
                env=environment,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=2,
                start_new_session=True,
            )
        self._rest = b""
        self._order: Order | None = None
        self.key, self.wait = "", False

    def fileno(self) -> int:
        return self._socket.fileno()

    def begin(self, order: Order, key: str, wait: bool) -> None:
        """Have it make a partition."""
        self.key, self.wait = key, wait
        if order is not self._order:
            self._send({"maker": order.maker, "document": order.document})
            self._order = order
        self._send({"key": key, "wait": wait})

    def heard(self) -> Iterator[Mapping[str, Any]]:
        """What it has said since; the last thing is `{"gone": …}` if it has ended."""
        try:
            read = self._socket.recv(1 << 20)
        except OSError:
            read = b""
        *lines, self._rest = (self._rest + read).split(b"\n")
        yield from map(json.loads, lines)
        if not read:
            yield {"gone": self.process.wait()}

    def release(self) -> None:
        """Tell it that there is nothing more to do; it takes back what it is at."""
        self._socket.close()

    def _send(self, message: Mapping[str, Any]) -> None:
        with suppress(OSError):  # its end is heard of
            self._socket.sendall(json.dumps(message).encode() + b"\n")


class _Crew:
    """The processes of this one."""

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._free: list[_Hand] = []
        self._busy: list[_Hand] = []
        self._selector = selectors.DefaultSelector()

    def outcomes(self, work: Work[T], order: Order) -> Generator[Ended[T], None, None]:
        todo = deque((key, False) for key in work.keys)
        while todo or self._busy:
            while todo and len(self._busy) < self._slots:
                self._begin(order, *todo.popleft())
            if interrupts.asked():  # Dagster drops signals that come while it is at its own work
                raise KeyboardInterrupt
            for ready, _ in self._selector.select(LOOK):
                hand: Any = ready.fileobj
                for message in hand.heard():
                    if "say" in message:
                        work.say(message["say"])
                        continue
                    if hand not in self._busy:  # it ended after its work
                        continue
                    self._end(hand, "gone" not in message)
                    ended = _ended(work, hand, message)
                    if isinstance(ended.error, Taken) and not hand.wait:
                        todo.append((ended.key, True))
                    else:
                        yield ended

    def close(self) -> None:
        """End all, within seconds."""
        hands = [*self._free, *self._busy]
        for hand in hands:
            hand.release()
        end = time.monotonic() + PATIENCE
        for hand in hands:
            try:
                hand.process.wait(max(end - time.monotonic(), 0.01))
            except subprocess.TimeoutExpired:
                hand.process.kill()
                hand.process.wait()
        self._free, self._busy = [], []
        self._selector.close()
        self._selector = selectors.DefaultSelector()

    def _begin(self, order: Order, key: str, wait: bool) -> None:
        while self._free and self._free[-1].process.poll() is not None:
            self._free.pop().release()
        hand = self._free.pop() if self._free else _Hand(self._slots)
        self._busy.append(hand)
        self._selector.register(hand, selectors.EVENT_READ)
        hand.begin(order, key, wait)

    def _end(self, hand: _Hand, lives: bool) -> None:
        self._selector.unregister(hand)
        self._busy.remove(hand)
        if lives:
            self._free.append(hand)
        else:
            hand.release()


def _ended(work: Work[T], hand: _Hand, message: Mapping[str, Any]) -> Ended[T]:
    match message:
        case {"made": value}:
            return Ended(hand.key, work.read(value))
        case {"error": kind, "text": text}:
            return Ended(hand.key, error=_error(kind, text))
        case {"gone": code}:
            how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            return Ended(
                hand.key,
                error=StoreError(
                    f"the process that made it ended ({how}); its last words are in the run's stderr. Run again; if "
                    "memory ran out (SIGKILL), with fewer processes, IMGASSETS_ENGINE=processes:N."
                ),
            )
    raise RuntimeError(f"{hand.key}: {message['unexpected']}")


def _error(kind: str, text: str) -> ImgassetsError:
    found: type[ImgassetsError] = getattr(errors, kind)
    return found(text)


_crews: dict[int, tuple[Mapping[str, str], _Crew]] = {}


def _crew(slots: int) -> _Crew:
    """The processes that are there, if they were started in the environment that there is now."""
    now = dict(os.environ, PWD=os.getcwd())
    for key in [key for key, (environment, _) in _crews.items() if key != slots or environment != now]:
        _crews.pop(key)[1].close()
    return _crews.setdefault(slots, (now, _Crew(slots)))[1]


def close() -> None:
    """End the processes that wait for work."""
    for _, crew in _crews.values():
        crew.close()
    _crews.clear()


def _forget() -> None:
    _crews.clear()


atexit.register(close)
os.register_at_fork(after_in_child=_forget)
