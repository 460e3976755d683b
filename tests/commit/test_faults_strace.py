"""The same from outside: strace kills or fails every file-system call, those of Python and SQLite included."""

from __future__ import annotations

import errno
import random
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.commit import strace
from tests.commit.invariants import SEED, Broken, Case, Tally
from tests.commit.strace import Call

pytestmark = pytest.mark.skipif(strace.STRACE is None, reason="strace is not installed")

NAMING = {"open", "openat", "mkdir", "rename", "renameat", "renameat2", "link", "unlink", "unlinkat", "rmdir"}
WRITING = {"open", "openat", "write", "pwrite64", "fsync", "ftruncate", "mkdir", "rename", "renameat2"}
# EDQUOT and EROFS take the same ways as ENOSPC and EACCES; `test_faults` tries them at every call
ERRORS = {
    errno.EIO: {*strace.CHANGING, *strace.READING} - {"close"},  # an injected error keeps a file open for ever
    errno.ENOSPC: WRITING,
    errno.EACCES: NAMING,
    errno.EMFILE: {"open", "openat"},
}


def killed(case: Case, call: Call) -> None:
    root = case.fresh()
    inject = f"{call.name}:signal=SIGKILL:when={call.number}"
    ended = strace.run(root, case.kind, trace=[call.name], inject=inject)
    assert ended.killed, f"{inject} did not kill: {ended}"
    assert ended.calls, f"{inject} killed before the commit began"
    case.look(root)
    case.settle(root)
    case.done(root)


def failed(case: Case, call: Call, code: int) -> None:
    root = case.fresh()
    inject = f"{call.name}:error={errno.errorcode[code]}:when={call.number}"
    ended = strace.run(root, case.kind, trace=[call.name], inject=inject)
    assert ended.outcome is not None
    seen = case.look(root)
    if "fresh" in ended.outcome:
        if seen != "new":
            raise Broken("silent", f"no error, but the {seen} version is there")
    else:
        if "ImgassetsError" not in ended.outcome["error"]:
            raise Broken("message", f"{ended.outcome}")
        case.told(root, ended.outcome["message"], code)
        case.untouched(root)
    case.settle(root)
    case.done(root)


def kill_points(case: Case) -> list[Call]:
    root = case.fresh()
    ended = strace.run(root, case.kind, trace=strace.CHANGING)
    assert ended.outcome == {"fresh": True}
    case.settled(root)
    return ended.calls


def error_points(case: Case) -> list[tuple[Call, int]]:
    ended = strace.run(case.fresh(), case.kind, trace=[*strace.CHANGING, *strace.READING])
    return [(call, code) for code, names in ERRORS.items() for call in ended.calls if call.name in names]


def kill_all(case: Case, tally: Tally, calls: list[Call]) -> None:
    with ThreadPoolExecutor(2) as pool:

        def judge(call: Call) -> None:
            inject = f"{call.name}:signal=SIGKILL:when={call.number}"
            tally.check(
                f"{case.kind} {case.start}: strace -e inject={inject} ({call.text})", lambda: killed(case, call)
            )

        list(pool.map(judge, calls))


def fail_all(case: Case, tally: Tally, points: list[tuple[Call, int]]) -> None:
    with ThreadPoolExecutor(2) as pool:

        def judge(point: tuple[Call, int]) -> None:
            call, code = point
            inject = f"{call.name}:error={errno.errorcode[code]}:when={call.number}"
            repro = f"{case.kind} {case.start}: strace -e inject={inject} ({call.text})"
            tally.check(repro, lambda: failed(case, call, code))

        list(pool.map(judge, points))


def test_a_kill_at_some_system_call(case: Case) -> None:
    print(f"FAULT_SEED={SEED}")
    tally = Tally("kill points by strace")
    points = kill_points(case)
    publishing = [call for call in points if call.name.startswith("rename")]
    kill_all(case, tally, publishing + random.Random(SEED).sample(points, 5))
    tally.finish(6)


def test_an_error_at_some_system_call(case: Case) -> None:
    print(f"FAULT_SEED={SEED}")
    tally = Tally("errors by strace")
    fail_all(case, tally, random.Random(SEED).sample(error_points(case), 8))
    tally.finish(8)


@pytest.mark.slow
def test_a_kill_at_every_system_call(case: Case) -> None:
    tally = Tally("kill points by strace")
    kill_all(case, tally, kill_points(case))
    tally.finish(100)


@pytest.mark.slow
def test_an_error_at_every_system_call(case: Case) -> None:
    tally = Tally("errors by strace")
    fail_all(case, tally, error_points(case))
    tally.finish(300)
