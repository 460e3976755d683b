"""One call that fails, or ends the process, in whichever library, while artifacts are made: what is there then?

`python -m tests.commit.faulty_calls SCRATCH KIND...` has `faulty_calls.c` loaded before libc. It makes each kind once
as it should be, where nothing is and where an older version lies, and then anew with each of its calls failing in each
way, in forked processes or in new ones, and prints what it tried and found as lines of JSON.
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
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from imgassets.commit import checksum
from imgassets.commit.own import OWN
from imgassets.errors import LIMIT, ImgassetsError, MissingUpstream
from tests.commit.invariants import Broken, Tree, at_rest, tree
from tests.commit.kinds import Kinds

WAYS = {
    "EIO": errno.EIO,
    "ENOSPC": errno.ENOSPC,
    "full": errno.ENOSPC,
    "short": 0,
    "SIGTERM": -signal.SIGTERM,
    "SIGKILL": -signal.SIGKILL,
}
"""What the call does; `full`: so do all later ones."""
CALLS = {
    "w": "write",
    "p": "pwrite",
    "v": "writev",
    "s": "fsync",
    "r": "rename",
    "l": "link",
    "u": "unlink",
    "m": "mkdir",
}
STARTS = ("fresh", "republish")
OLD, NEW = 1, 2
"""Versions of an artifact's content."""


@dataclass(frozen=True)
class Ended:
    """How an attempt ended: the calls it made, a letter each, and the error it told of, if any."""

    calls: str
    error: str | None = None
    clean: bool = True
    """Whether the error is one of the project's own."""


def attempt(kinds: Kinds, kind: str, root: Path, number: int = 0, way: str = "short") -> Ended:
    """Make an artifact, a signal raising `KeyboardInterrupt`; call `number` goes wrong in a `way`."""
    library = ctypes.CDLL(os.environ["LD_PRELOAD"])
    library.calls.restype = ctypes.c_char_p
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    arm = partial(library.arm, os.fsencode(root / "store"))
    arm(ctypes.c_long(number), WAYS[way], way == "full")
    error, clean = None, True
    try:
        kinds.make(root, kind, NEW)
    except (Exception, KeyboardInterrupt) as problem:
        error, clean = f"{type(problem).__name__}: {problem}", isinstance(problem, ImgassetsError)
    ended = Ended(library.calls().decode(), error, clean)
    library.arm(b"", ctypes.c_long(0), 0, 0)
    return ended


def forked(work: Callable[[], Ended]) -> Ended | None:
    """Do `work` in a forked process; None if that is killed.

    Raises:
        Broken: it died otherwise.
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


def started(*arguments: object) -> Ended | None:
    """Do the same in a new process, which ends as processes do.

    Raises:
        Broken: it died.
    """
    command = [sys.executable, "-m", __spec__.name, *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return _ended(done.stdout, done.returncode)


def _ended(told: bytes, code: int) -> Ended | None:
    if code == -signal.SIGKILL:
        return None
    if code or not told:
        raise Broken("died", f"it ended with {code}")
    return Ended(**json.loads(told))


@dataclass
class Case:
    """A kind of artifact, made once as it should be, where nothing is or in the place of an older version."""

    kinds: Kinds
    kind: str
    start: str
    scratch: Path
    before: Path = field(init=False)
    """A root as it is before the attempt."""
    old: Tree = field(init=False)
    wanted: Tree = field(init=False)
    """The artifact before and after."""
    after: Tree = field(init=False)
    """The whole vault after."""
    calls: str = field(init=False)

    def __post_init__(self) -> None:
        self.before = self.scratch / f"{self.kind}-{self.start}"
        self.before.mkdir()
        if self.start == "republish":
            self.kinds.make(self.before, self.kind, OLD)
        root = self.fresh("whole")
        self.old = self.artifact(root)
        ended = forked(lambda: attempt(self.kinds, self.kind, root))
        assert ended, "killed"
        assert ended.error is None, ended.error
        self.wanted, self.after, self.calls = self.artifact(root), at_rest(root / "store"), ended.calls
        assert self.wanted != self.old

    def fresh(self, name: str) -> Path:
        """A copy of the root before the attempt."""
        return Path(shutil.copytree(self.before, self.before.with_name(f"{self.before.name}-{name}")))

    def artifact(self, root: Path) -> Tree:
        """What lies in its place."""
        path = self.kinds.place(root, self.kind)
        return tree(path) if path.exists() else {}

    def judge(self, root: Path, ended: Ended | None, way: str) -> None:
        """What must hold afterwards.

        Raises:
            Broken: it does not.
        """
        seen = self.look(root)
        if ended and ended.error is None:
            if at_rest(root / "store") != self.after:
                raise Broken("torn", "a success with other bytes")
            return
        if ended:
            self._refused(root, ended, way, seen)
        again = forked(lambda: attempt(self.kinds, self.kind, root))
        if not again or again.error or at_rest(root / "store") != self.after:
            raise Broken("differing", f"the next attempt: {again and again.error}")

    def look(self, root: Path) -> str:
        """Which version is visible, if any: `old`, `new` or `none`; it is whole.

        Raises:
            Broken: it is not, or the old one is lost.
        """
        found = self.artifact(root)
        if not found and self.old:
            raise Broken("lost", "the old version is not there")
        if found not in (self.old, self.wanted):
            raise Broken("torn", "neither version")
        try:
            self.kinds.verify(root, self.kind)
        except MissingUpstream:  # one file is there before its manifest, and not yet there for readers
            if self.old:
                raise Broken("lost", "the old version's manifest is not there") from None
            return "none"
        except ImgassetsError as error:
            raise Broken("torn", str(error)) from None
        return "new" if found == self.wanted else "old"

    def _refused(self, root: Path, ended: Ended, way: str, seen: str) -> None:
        assert ended.error
        if way == "SIGTERM":
            if "KeyboardInterrupt" not in ended.error:
                raise Broken("message", ended.error)
        elif way == "short" or (seen == "new" and "could not be undone" not in ended.error):
            raise Broken("torn", f"{seen} in spite of {ended.error}")
        else:
            self._told(root, ended, way)
        if "could not be undone" in ended.error:
            return
        left = at_rest(root / "store").items() - at_rest(self.before / "store").items()
        odd = [name for name, data in left if data and not name.startswith(f"{OWN}/owners")]
        if odd and seen != "new" and not self.kind.startswith("convert"):
            raise Broken("remains", f"{odd}")

    def _told(self, root: Path, ended: Ended, way: str) -> None:
        assert ended.error
        own = ended.clean and "\n" not in ended.error and len(ended.error) <= LIMIT
        full = "disk is full" in ended.error or "could not be undone" in ended.error
        if not own or str(root) not in ended.error or (way in {"ENOSPC", "full"}) > full:
            raise Broken("message", ended.error)

    def can(self, number: int, way: str) -> bool:
        """Whether a call can end in this way."""
        call = self.calls[number - 1]
        return way.startswith("SIG") or call in "wpv" or (call == "s" and way != "short")

    def fail(self, number: int, way: str, *, fresh: bool) -> dict[str, Any]:
        """Let one call fail in a forked or a new process, and judge what is there then."""
        root = self.fresh(f"{number}-{way}")
        found: dict[str, Any] = {"kind": self.kind, "start": self.start, "number": number, "way": way}
        found["call"] = CALLS[self.calls[number - 1]]
        try:
            if fresh:
                ended = started(self.scratch, self.kind, "--here", root, number, way)
            else:
                ended = forked(lambda: attempt(self.kinds, self.kind, root, number, way))
            if ended:
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
    options.add_argument("--sample", type=int, default=0, help="points of each kind and start; 0: all")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--fresh", action="store_true", help="new processes instead of forked ones")
    options.add_argument("--here", nargs=3, metavar=("ROOT", "NUMBER", "WAY"), help="fail this call in this process")
    given = options.parse_args()
    checksum.Checksums._store = lambda *_: None  # type: ignore[method-assign]  # calls of SQLite are others' business
    kinds = Kinds(given.scratch / "inputs")
    if given.here:
        root, number, way = given.here
        print(json.dumps(vars(attempt(kinds, given.kinds[0], Path(root), int(number), way))))
        return
    for kind, start in itertools.product(given.kinds or kinds.names, STARTS):
        case = Case(kinds, kind, start, given.scratch)
        points = [p for p in itertools.product(range(1, len(case.calls) + 1), WAYS) if case.can(*p)]
        for number, way in random.Random(given.seed).sample(points, min(given.sample, len(points)) or len(points)):
            print(json.dumps(case.fail(number, way, fresh=given.fresh)), flush=True)


if __name__ == "__main__":
    main()
