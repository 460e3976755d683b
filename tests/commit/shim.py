"""A thin layer between the commit protocol and the operating system: sees, stops or fails every call that matters.

It needs no tracer and no root, so what it does is exhaustive everywhere; `strace.py` does the same from outside.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from unittest import mock

from imgassets.commit import publish

LOOKING = {"lstat", "stat", "scandir", "statvfs"}
CHANGING = {
    *("open", "write", "pwrite", "ftruncate", "fsync", "close", "flock", "mkdir", "rmdir"),
    *("rename", "replace", "exchange", "link", "symlink", "unlink", "remove"),
}


@dataclass(frozen=True)
class Op:
    """One call: its number from 1 on, name and arguments."""

    number: int
    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


class Death(BaseException):
    """The process is dead; nothing it would still do reaches the disk."""


class Shim:
    """While entered, every call that looks at files or changes them goes through here.

    Args:
        die: the call before which the process dies, in this process: from then on every call raises `Death`.
        before: called with each call beforehand; what it raises, the call raises.
        after: called with each call and its result.
        exchange: whether the file system can exchange two names.
    """

    def __init__(
        self,
        die: Callable[[Op], bool] | None = None,
        *,
        before: Callable[[Op], None] | None = None,
        after: Callable[[Op, Any], None] | None = None,
        exchange: bool = True,
    ) -> None:
        self.ops: list[Op] = []
        self._die, self._before, self.after, self._exchange = die, before, after, exchange
        self._dead = self._inside = False
        self._open: set[int] = set()
        self._patches = [
            mock.patch.object(os, name, self._wrap(name, getattr(os, name)))
            for name in sorted(LOOKING | CHANGING - {"flock", "exchange"})
        ]
        self._patches.append(mock.patch.object(fcntl, "flock", self._wrap("flock", fcntl.flock)))
        self._patches.append(mock.patch.object(publish, "_exchange", self._wrap("exchange", publish._exchange)))
        self._patches.append(mock.patch.object(sys, "unraisablehook", self._unraisable(sys.unraisablehook)))
        self._close = os.close

    def __enter__(self) -> Self:
        for patch in self._patches:
            patch.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for patch in self._patches:
            patch.stop()
        for fd in self._open:  # what the kernel does for the dead, the lock's end among it
            self._close(fd)

    def _unraisable(self, hook: Callable[[Any], Any]) -> Callable[[Any], None]:
        def told(what: Any) -> None:  # the hook looks at files itself; nobody collects the garbage of the dead
            inside, self._inside = self._inside, True
            try:
                if not self._dead:
                    hook(what)
            finally:
                self._inside = inside

        return told

    def _wrap(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            if self._inside:  # calls that the observers make themselves
                return call(*args, **kwargs)
            op = Op(len(self.ops) + 1, name, args, kwargs)
            self.ops.append(op)
            self._inside = True
            try:
                if self._dead or (self._die and self._die(op)):
                    self._dead = True
                    raise Death
                if self._before:
                    self._before(op)
                if name == "exchange" and not self._exchange:
                    raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
                result = call(*args, **kwargs)
                if name == "open":
                    self._open.add(result)
                elif name == "close":
                    self._open.discard(args[0])
                if self.after:
                    self.after(op, result)
                return result
            finally:
                self._inside = False

        return wrapped


def fail(op: Op, code: int) -> None:
    """Raise as the kernel would."""
    name = op.args[0] if op.args and not isinstance(op.args[0], int) else None
    raise OSError(code, os.strerror(code), name)
