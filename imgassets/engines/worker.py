"""A process that makes partitions for another one: `python -m imgassets.engines.worker SOCKET STARTER`.

It is told what to make, and answers, in lines of JSON. It ends with its starter: the socket ends, and Linux sends a
signal; both take back what is in work, within 5 s.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib import import_module
from queue import SimpleQueue
from typing import Any

from imgassets import errors, interrupts
from imgassets.engines.work import Order
from imgassets.errors import ImgassetsError

PR_SET_PDEATHSIG = 1

Make = Callable[[str, bool], Any]


def made_by(order: Order, say: Callable[[str], object]) -> Make:
    """What makes the partitions of an order."""
    module, _, function = order.maker.partition(":")
    make: Make = getattr(import_module(module), function)(order.document, say)
    return make


class _Worker:
    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._todo: SimpleQueue[Mapping[str, Any] | None] = SimpleQueue()
        self._busy = False
        self._speaking = threading.Lock()

    def work(self) -> None:
        """Until the starter closes its end."""
        threading.Thread(target=self._listen, daemon=True).start()
        order: Order | None = None
        make: Make | None = None
        while (message := self._todo.get()) is not None:
            if "maker" in message:
                order, make = Order(message["maker"], message["document"]), None
                continue
            self._busy = True
            try:
                assert order
                make = make or made_by(order, self._say)
                self._send({"made": make(message["key"], message["wait"])})
            except ImgassetsError as error:
                self._send({"error": _kind(error), "text": str(error)})
            except Exception as error:
                traceback.print_exc()
                self._send({"unexpected": f"{type(error).__name__}: {error}"})
            self._busy = False

    def _listen(self) -> None:
        with suppress(OSError, ValueError), self._channel.makefile("rb") as lines:
            for line in lines:
                self._todo.put(json.loads(line))
        self._todo.put(None)
        if self._busy:
            os.kill(os.getpid(), signal.SIGTERM)

    def _say(self, text: str) -> None:
        self._send({"say": text})

    def _send(self, message: Mapping[str, Any]) -> None:
        with suppress(OSError), self._speaking:  # nobody is there: `_listen` ends this process
            self._channel.sendall(json.dumps(message).encode() + b"\n")


def _kind(error: ImgassetsError) -> str:
    """The nearest class that everybody knows."""
    return next(kind.__name__ for kind in type(error).__mro__ if kind.__module__ == errors.__name__)


def _end_with(starter: int) -> None:
    with suppress(OSError, AttributeError):  # no Linux
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != starter:  # it died before
        sys.exit(interrupts.CODE)


def main() -> None:
    """As the module says."""
    descriptor, starter = map(int, sys.argv[1:])
    with suppress(KeyboardInterrupt), interrupts.watched():
        _end_with(starter)
        with socket.socket(fileno=descriptor) as channel:
            _Worker(channel).work()


if __name__ == "__main__":
    main()
