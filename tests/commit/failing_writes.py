"""One write or sync that fails, in whichever library, while artifacts of every kind are made: what is there then?

`python -m tests.commit.failing_writes SCRATCH KIND...` has `failing_writes.c` loaded before libc. It makes each kind
once as it should be and then anew with each of its calls failing in each way, in forked processes or in new ones, and
prints what it tried and found as lines of JSON.
"""

from __future__ import annotations

import argparse
import ctypes
import errno
import itertools
import json
import os
import random
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from imgassets.commit import checksum
from imgassets.errors import LIMIT, ImgassetsError
from tests.commit.invariants import Broken, Tree, tree
from tests.commit.kinds import Kinds

WAYS = {"EIO": errno.EIO, "ENOSPC": errno.ENOSPC, "short": 0}
CALLS = {"w": "write", "p": "pwrite", "v": "writev", "s": "fsync"}


@dataclass(frozen=True)
class Ended:
    """How an attempt ended: the calls it made, a letter each, and the error it told of, if any."""

    calls: str
    error: str | None = None
    clean: bool = True
    """Whether the error is one of the project's own."""


def attempt(kinds: Kinds, kind: str, root: Path, number: int = 0, code: int = 0) -> Ended:
    """Make an artifact while call `number` fails with `code`, or writes less than it was given where that is 0."""
    library = ctypes.CDLL(os.environ["LD_PRELOAD"])
    library.calls.restype = ctypes.c_char_p
    library.arm(os.fsencode(root / "store"), ctypes.c_long(number), code)
    error, clean = None, True
    try:
        kinds.make(root, kind)
    except Exception as problem:
        error, clean = f"{type(problem).__name__}: {problem}", isinstance(problem, ImgassetsError)
    ended = Ended(library.calls().decode(), error, clean)
    library.arm(b"", ctypes.c_long(0), 0)
    return ended


def forked(work: Callable[[], Ended]) -> Ended:
    """Do `work` in a forked process.

    Raises:
        Broken: it died.
    """
    reader, writer = os.pipe()
    if (pid := os.fork()) == 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        os.write(writer, json.dumps(vars(work())).encode())
        os._exit(0)
    os.close(writer)
    with open(reader, "rb") as pipe:
        told = pipe.read()
    _, status = os.waitpid(pid, 0)
    return _ended(told, os.waitstatus_to_exitcode(status))


def started(*arguments: object) -> Ended:
    """Do the same in a new process, which ends as processes do.

    Raises:
        Broken: it died.
    """
    command = [sys.executable, "-m", __spec__.name, *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return _ended(done.stdout, done.returncode)


def _ended(told: bytes, code: int) -> Ended:
    if code or not told:
        raise Broken("died", f"it ended with {code}")
    return Ended(**json.loads(told))


@dataclass
class Case:
    """A kind of artifact, made once as it should be."""

    kinds: Kinds
    kind: str
    scratch: Path
    wanted: Tree = field(init=False)
    calls: str = field(init=False)

    def __post_init__(self) -> None:
        root = self.scratch / f"{self.kind}-whole"
        ended = forked(lambda: attempt(self.kinds, self.kind, root))
        assert ended.error is None, ended
        self.wanted, self.calls = tree(root / "store"), ended.calls

    def judge(self, root: Path, ended: Ended, way: str) -> None:
        """What must hold afterwards.

        Raises:
            Broken: it does not.
        """
        path = self.kinds.place(root, self.kind)
        if ended.error is None:
            if tree(root / "store") != self.wanted:
                raise Broken("torn", "a success with other bytes")
            return
        if path.exists():
            raise Broken("torn", f"published in spite of {ended.error}")
        own = ended.clean and "\n" not in ended.error and len(ended.error) <= LIMIT
        if not own or str(root) not in ended.error or (way == "ENOSPC" and "disk is full" not in ended.error):
            raise Broken("message", ended.error)
        if way == "short":
            raise Broken("short", f"a short write is no error: {ended.error}")
        left = [
            name for name, data in tree(root / "store").items() if data and not name.startswith(".imgassets/owners")
        ]
        if left and not self.kind.startswith("convert"):
            raise Broken("remains", f"{left}")
        again = forked(lambda: attempt(self.kinds, self.kind, root))
        if again.error or tree(root / "store") != self.wanted:
            raise Broken("differing", f"the next attempt: {again.error}")

    def can(self, number: int, way: str) -> bool:
        """Whether a call can end in this way."""
        return not (way == "short" and self.calls[number - 1] == "s")

    def fail(self, number: int, way: str, *, fresh: bool) -> dict[str, Any]:
        """Let one call fail in a forked or a new process, and judge what is there then."""
        root = self.scratch / f"{self.kind}-{number}-{way}"
        found: dict[str, Any] = {"kind": self.kind, "number": number, "way": way, "call": CALLS[self.calls[number - 1]]}
        try:
            if fresh:
                ended = started(self.scratch, self.kind, "--here", root, number, way)
            else:
                ended = forked(lambda: attempt(self.kinds, self.kind, root, number, WAYS[way]))
            assert ended.calls[:number] == self.calls[:number], f"call {number} is another one: {ended.calls}"
            self.judge(root, ended, way)
        except Broken as broken:
            found["broken"] = broken.args
        shutil.rmtree(root, ignore_errors=True)
        return found


def main() -> None:
    """Print what was tried, a line each."""
    options = argparse.ArgumentParser()
    options.add_argument("scratch", type=Path)
    options.add_argument("kinds", nargs="*")
    options.add_argument("--sample", type=int, default=0, help="calls of each kind; 0: all")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--fresh", action="store_true", help="new processes instead of forked ones")
    options.add_argument("--here", nargs=3, metavar=("ROOT", "NUMBER", "WAY"), help="fail this call in this process")
    given = options.parse_args()
    checksum.TICK = sys.maxsize  # how many calls there are must not depend on the speed of the disk
    kinds = Kinds(given.scratch / "inputs")
    if given.here:
        root, number, way = given.here
        print(json.dumps(vars(attempt(kinds, given.kinds[0], Path(root), int(number), WAYS[way]))))
        return
    for kind in given.kinds or kinds.names:
        case = Case(kinds, kind, given.scratch)
        points = [p for p in itertools.product(range(1, len(case.calls) + 1), WAYS) if case.can(*p)]
        for number, way in random.Random(given.seed).sample(points, given.sample or len(points)):
            print(json.dumps(case.fail(number, way, fresh=given.fresh)), flush=True)


if __name__ == "__main__":
    main()
