"""One writer to one artifact. The kernel holds the lock and drops it when its owner is dead, never before."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import xxhash

from imgassets.errors import StoreError

PATIENCE = 20
"""Times to look, 10 ms apart, for the name of an owner that has none yet."""


@contextmanager
def exclusive(path: Path, folder: Path) -> Iterator[None]:
    """Hold the only right to write the artifact at `path`; the lock's file lies in `folder`, and stays there.

    `flock` ends with the last process that holds it, so a writer that was killed leaves nothing to wait for
    and a writer that hangs cannot be robbed. Processes it forked hold it too, for they may be writing still.

    Raises:
        StoreError: somebody else is writing it; names the owner.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # one place has one lock, by whatever links it is reached
    file = folder / f"{xxhash.xxh3_128_hexdigest(os.fsencode(path.parent.resolve() / path.name))}.lock"
    fd = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        for _ in range(PATIENCE):
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if owner := _owner(fd):
                    raise _taken(path, owner) from None
            time.sleep(0.01)  # nobody's name: it is about to be written, or its owner is just done
        else:
            raise _taken(path, "another process")
        me = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        os.ftruncate(fd, 0)
        os.pwrite(fd, json.dumps(me).encode(), 0)
        try:
            yield
        finally:
            with suppress(OSError):  # the next owner must not be mistaken for this one
                os.ftruncate(fd, 0)
    finally:
        with suppress(OSError):  # the lock goes with the process at the latest
            os.close(fd)


def _owner(fd: int) -> str | None:
    with suppress(ValueError, KeyError, TypeError, OSError):
        owner = json.loads(os.pread(fd, 4096, 0))
        return f"process {owner['pid']} on {owner['host']} since {owner['since']}"
    return None


def _taken(path: Path, owner: str) -> StoreError:
    return StoreError(f"{path} is being written by {owner}; wait for that run, or stop it, and run again.")
