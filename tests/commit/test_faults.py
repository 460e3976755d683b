"""A kill, an error or a power cut at every call of a commit: never torn, never lost, and a rerun makes the same bytes.

Every fault is tried in process through a thin layer over the operating system (`shim`), and again from outside by
strace, which sees the calls of Python itself and of SQLite too. What is not marked slow is a sample of that; its seed
is printed, and `FAULT_SEED=… pytest …` takes the same sample again.
"""

from __future__ import annotations

import errno
import os
import random
import signal
from collections.abc import Callable, Iterator

import pytest

from imgassets.errors import ImgassetsError
from tests.commit import victim
from tests.commit.invariants import SEED, VERSION, Broken, Case, Tally, calls, name
from tests.commit.shim import CHANGING, LOOKING, Op, Shim, fail

WRITING = {"open", "write", "pwrite", "fsync", "mkdir", "rename", "exchange", "replace", "link"}
NAMING = {"open", "mkdir", "rename", "exchange", "replace", "link", "unlink", "rmdir"}
ERRORS: dict[int, set[str]] = {
    errno.EIO: CHANGING | LOOKING,
    errno.ENOSPC: WRITING,
    errno.EDQUOT: WRITING,
    errno.EROFS: NAMING,
    errno.EACCES: NAMING | {"stat", "lstat", "scandir"},
    errno.EMFILE: {"open", "scandir"},
}
"""Which calls can end in which error."""


def sample(points: list[Op], count: int) -> list[Op]:
    """A seeded part of the points; all of those that publish, for there is where the versions change places."""
    rare = [op for op in points if op.name in {"rename", "replace", "exchange"}]
    rest = [op for op in points if op not in rare]
    print(f"FAULT_SEED={SEED}")
    return rare + random.Random(SEED).sample(rest, min(count, len(rest)))


def forked(work: Callable[[], None]) -> int:
    """Do `work` in a forked process; returns the signal that ended it, or 0."""
    pid = os.fork()
    if pid == 0:
        try:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 2)
            work()
        finally:
            os._exit(1)
    status = os.waitpid(pid, 0)[1]
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


def killed(case: Case, op: Op, *, half: bool, exchange: bool) -> None:
    """Die by SIGKILL before call `op`, or with half of its bytes written."""
    root = case.fresh()

    def stop(now: Op) -> None:
        if now.number == op.number:
            if half:
                fd, data, *at = now.args
                getattr(os, now.name)(fd, bytes(data)[: len(data) // 2], *at)
            os.kill(os.getpid(), signal.SIGKILL)

    def attempt() -> None:
        with Shim(before=stop, exchange=exchange):
            victim.commit(root, case.kind, VERSION)

    assert forked(attempt) == signal.SIGKILL, f"call {op.number} ({op.name}) was not reached"
    case.look(root, exchange=exchange)
    case.settle(root)
    case.done(root)


def kill_all(case: Case, tally: Tally, points: list[Op], *, exchange: bool) -> None:
    for op in points:
        for half in (False, True) if op.name in {"write", "pwrite"} else (False,):
            repro = f"{name(case, exchange)}: SIGKILL at call {op.number}, {op.name}{' half' * half}"
            tally.check(repro, lambda op=op, half=half: killed(case, op, half=half, exchange=exchange))  # type: ignore[misc]


def test_a_kill_at_some_call(case: Case) -> None:
    tally = Tally("kill points")
    kill_all(case, tally, sample([op for op in calls(case) if op.name in CHANGING], 12), exchange=True)
    tally.finish(12)


@pytest.mark.slow
def test_a_kill_at_every_call(case: Case, exchange: bool) -> None:
    tally = Tally("kill points")
    points = [op for op in calls(case, exchange=exchange) if op.name in CHANGING]
    kill_all(case, tally, points, exchange=exchange)
    tally.finish(50)


def failed(case: Case, where: Callable[[Op], bool], code: int, *, exchange: bool, sticky: bool = False) -> None:
    """Let the calls that `where` picks fail with `code`."""
    root = case.fresh()
    hit: list[Op] = []

    def before(op: Op) -> None:
        if where(op):
            hit.append(op)
            fail(op, code)

    message = None
    with Shim(before=before, exchange=exchange):
        try:
            victim.commit(root, case.kind, VERSION)
        except ImgassetsError as error:
            message = str(error)
        except BaseException as error:
            raise Broken("message", repr(error)) from error
    assert hit, "the call was not reached"
    seen = case.look(root, exchange=exchange)
    if message is None:
        # memory of checksums, name in the lock, removal of what is left: all done, whatever remains goes with the rerun
        if seen != "new":
            raise Broken("silent", f"no error, but the {seen} version is there")
    else:
        case.told(root, message, code)
        if not sticky:
            case.untouched(root)
    case.settle(root)
    case.done(root)


def fail_all(case: Case, tally: Tally, points: Iterator[tuple[Op, int]], *, exchange: bool) -> None:
    for op, code in points:
        repro = f"{name(case, exchange)}: {errno.errorcode[code]} at call {op.number}, {op.name}"
        tally.check(
            repro,
            lambda op=op, code=code: failed(case, lambda now: now.number == op.number, code, exchange=exchange),  # type: ignore[misc]
        )


def test_an_error_at_some_call(case: Case) -> None:
    tally = Tally("errors")
    ops = calls(case)
    picked = ((op, code) for code, names in ERRORS.items() for op in sample([o for o in ops if o.name in names], 4))
    fail_all(case, tally, picked, exchange=True)
    tally.finish(25)


@pytest.mark.slow
def test_an_error_at_every_call(case: Case, exchange: bool) -> None:
    tally = Tally("errors")
    ops = calls(case, exchange=exchange)
    fail_all(case, tally, ((op, c) for c, names in ERRORS.items() for op in ops if op.name in names), exchange=exchange)
    tally.finish(200)


@pytest.mark.slow
def test_errors_that_last(case: Case, exchange: bool) -> None:
    """From some call on every call of its name fails, those that undo and clean up included."""
    tally = Tally("lasting errors")
    for op in calls(case, exchange=exchange):
        for code in (errno.EIO, errno.ENOSPC):
            if op.name not in ERRORS[code]:
                continue
            where = lambda now, op=op: now.name == op.name and now.number >= op.number  # noqa: E731
            tally.check(
                f"{name(case, exchange)}: {errno.errorcode[code]} from call {op.number}, {op.name}, on",
                lambda where=where, code=code: failed(case, where, code, exchange=exchange, sticky=True),  # type: ignore[misc]
            )
    tally.finish(80)


@pytest.mark.slow
def test_two_errors_while_publishing(case: Case, exchange: bool) -> None:
    """Every pair of failing calls from the first that publishes on: one to undo for, one in the undoing."""
    tally = Tally("pairs of errors")
    ops = calls(case, exchange=exchange)
    start = next(op.number for op in ops if op.name in {"rename", "exchange"}) - 1
    for first in range(start, min(start + 16, len(ops))):
        for second in range(first + 1, first + 25):
            tally.check(
                f"{name(case, exchange)}: EIO at calls {first} and {second}",
                lambda pair={first, second}: failed(  # type: ignore[misc]
                    case, lambda op: op.number in pair, errno.EIO, exchange=exchange, sticky=True
                ),
            )
    tally.finish(200)


def interrupted(case: Case, number: int, *, late: bool, exchange: bool) -> None:
    """Ctrl-C before call `number`, or just after it: nothing new remains, or the new version is there and whole."""
    root = case.fresh()

    def stop(op: Op, result: object = None) -> None:
        if op.number == number:
            raise KeyboardInterrupt

    with Shim(before=None if late else stop, after=stop if late else None, exchange=exchange):
        try:
            victim.commit(root, case.kind, VERSION)
            ended = "normally"  # `shutil.rmtree` turns an interrupt just after a close into an error of its own
        except (KeyboardInterrupt, ImgassetsError):
            ended = "interrupted"
    seen = case.look(root)
    if seen != "new":
        case.untouched(root)
    elif ended == "interrupted":
        case.settled(root)
    case.settle(root)
    case.done(root)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # a listing that was interrupted is open
def test_an_interrupt_at_every_call(case: Case, exchange: bool) -> None:
    tally = Tally("interrupts")
    for op in calls(case, exchange=exchange):
        for late in (False, True):
            tally.check(
                f"{name(case, exchange)}: Ctrl-C {'after' if late else 'before'} {op.number}, {op.name}",
                lambda op=op, late=late: interrupted(case, op.number, late=late, exchange=exchange),  # type: ignore[misc]
            )
    tally.finish(150)


def test_short_writes_are_taken_up(case: Case) -> None:
    """The system may take fewer bytes than it was given."""
    root = case.fresh()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("write", "pwrite"):
            real = getattr(os, name)
            patch.setattr(os, name, lambda fd, d, *at, real=real: real(fd, bytes(d)[: max(1, len(d) // 2)], *at))
        victim.commit(root, case.kind, VERSION)
    case.settle(root)
