"""Several backfills at once, on one home, divide the work: each tells the others what its run is about."""

from __future__ import annotations

import fcntl
import json
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from imgassets import documents

FEW = 8
"""Partitions that are not worth dividing."""


class Division:
    """What the backfills of a home are at, in `folder`: a file for each, which it holds a lock on.

    Where there are no locks nobody hears of anybody, and the partitions' own locks are all there is.
    """

    def __init__(self, folder: Path, asset: str) -> None:
        self._folder, self._asset = folder, asset
        self._own = folder / f"{uuid4().hex}.json"
        self._fd = -1
        with suppress(OSError), self._alone():
            self._fd = os.open(self._own, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
            fcntl.flock(self._fd, fcntl.LOCK_EX)

    def close(self) -> None:
        """This backfill is at nothing more."""
        if self._fd >= 0:
            self._own.unlink(missing_ok=True)
            os.close(self._fd)

    def take(self, choose: Callable[[Counter[str]], Sequence[str]]) -> Sequence[str]:
        """Tell what is chosen, given how many others are at work on each partition; nobody else chooses meanwhile."""
        if self._fd < 0:
            return choose(Counter())
        with self._alone():
            keys = choose(Counter(key for told in self._others() for key in told))
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, json.dumps({"asset": self._asset, "keys": list(keys)}).encode(), 0)
        return keys

    def _others(self) -> Iterator[Collection[str]]:
        for path in set(self._folder.glob("*.json")) - {self._own}:
            with suppress(FileNotFoundError), path.open("rb") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    with suppress(ValueError, KeyError, TypeError, AttributeError):  # what is damaged tells nothing
                        told = documents.parse(file.read() or "{}")
                        if told.get("asset") == self._asset:
                            yield list(map(str, told["keys"]))
                else:  # of a process that died
                    path.unlink()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self._folder.mkdir(parents=True, exist_ok=True)
        fd = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)


def share(
    left: Sequence[str], workers: Counter[str], runs: Callable[[Collection[str]], Iterator[list[str]]]
) -> list[str]:
    """What to make next of what is `left`, given how many others are at work on each partition.

    That is the first run of what nobody is at work on; else of the longest that the fewest are at work on the half that
    they come to last.
    """
    fewest = min(workers[key] for key in left)
    candidates = runs([key for key in left if workers[key] == fewest])
    if not fewest:
        return next(candidates)
    run = max(candidates, key=len)
    return run[len(run) // 2 if len(run) > FEW else 0 :]
