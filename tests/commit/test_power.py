"""A power cut at every moment of a commit, and of the rerun after every kill: what comes back is old or new, whole."""

from __future__ import annotations

import random
from contextlib import suppress
from pathlib import Path

import pytest

from tests.commit import victim
from tests.commit.disk import Disk, State, lay_out
from tests.commit.invariants import SEED, VERSION, Broken, Case, Tally, calls, followed, name, names
from tests.commit.shim import CHANGING, Death, Op, Shim


class Judge:
    """Judges every state once."""

    def __init__(self, case: Case, tally: Tally, *, exchange: bool) -> None:
        self._case, self._tally, self._exchange = case, tally, exchange
        self._seen: set[frozenset[tuple[str, bytes | None]]] = set()

    def all_of(self, disk: Disk, when: str) -> None:
        """Every state the disk may come back in."""
        for state in disk.states():
            key = frozenset(state.items())
            if key not in self._seen:
                self._seen.add(key)
                self._tally.check(f"{name(self._case, self._exchange)}: power cut {when}", lambda s=state: self._one(s))  # type: ignore[misc]

    def _one(self, state: State) -> None:
        root = self._case.scratch / "after-power-cut"
        lay_out(state, root / "store")
        try:
            self._case.look(root, exchange=self._exchange)
            self._case.settle(root)
        finally:
            self._case.done(root)


def attempt(case: Case, root: Path, disk: Disk, judge: Judge | None, when: str, shim: Shim) -> None:
    def after(op: Op, result: object) -> None:
        disk.record(op, result)
        if judge and op.name in CHANGING:
            judge.all_of(disk, f"{when} after call {op.number}, {op.name}")

    shim.after = after
    with suppress(Death), shim:
        victim.commit(root, case.kind, VERSION)
    # the model is no better than its likeness to the real thing
    assert disk.now() == names(root / "store")


def test_a_power_cut_at_every_moment(case: Case, exchange: bool) -> None:
    tally = Tally("states after a power cut")
    judge = Judge(case, tally, exchange=exchange)
    root = case.fresh()
    disk = Disk(root / "store")
    attempt(case, root, disk, judge, "", Shim(exchange=exchange))
    durable = case.scratch / "durable"
    for i, state in enumerate(disk.states()):  # what was reported as done stays done
        lay_out(state, durable / str(i) / "store")
        assert case.look(durable / str(i)) == "new"
    tally.finish(10)


def killed_then_cut(case: Case, judge: Judge, number: int, *, exchange: bool) -> None:
    root = case.fresh()
    disk = Disk(root / "store")
    attempt(case, root, disk, None, "", Shim(lambda op: op.number == number, exchange=exchange))
    attempt(case, root, disk, judge, f"in the rerun after a kill at call {number},", Shim(exchange=exchange))
    for state in disk.states():
        if not all(followed(state).get(key, b"-") == value for key, value in case.after.items()):
            raise Broken("lost", f"the rerun after a kill at call {number} reported what a power cut can undo")
    case.done(root)


@pytest.mark.slow
def test_a_power_cut_in_the_rerun_after_every_kill(case: Case, exchange: bool) -> None:
    tally = Tally("states after a kill and a power cut")
    judge = Judge(case, tally, exchange=exchange)
    for op in calls(case, exchange=exchange):
        if op.name in CHANGING:
            killed_then_cut(case, judge, op.number, exchange=exchange)
    tally.finish(10)


def test_a_power_cut_in_the_rerun_after_some_kill(case: Case) -> None:
    print(f"FAULT_SEED={SEED}")
    tally = Tally("states after a kill and a power cut")
    judge = Judge(case, tally, exchange=True)
    points = [op for op in calls(case) if op.name in CHANGING]
    for op in [o for o in points if o.name in {"rename", "exchange"}] + random.Random(SEED).sample(points, 1):
        killed_then_cut(case, judge, op.number + 1, exchange=True)
    tally.finish(1)
