"""Ctrl-C and SIGTERM at any moment."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from imgassets.errors import ImgassetsError
from tests.commit import victim
from tests.commit.invariants import SEED, VERSION, Case
from tests.commit.test_races import owner
from tests.commit.victim import FILES, Kind

fork = get_context("fork")


@pytest.mark.parametrize("start", ["first", "republish", "resume"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_at_any_time_cleans_up(scratch: Path, kind: Kind, start: Any, number: signal.Signals) -> None:
    """Ctrl-C as Python has it; SIGTERM as whoever handles it, Dagster among them, makes an exception of it."""
    case = Case(kind, start, scratch)
    print(f"FAULT_SEED={SEED}")
    dice, seen = random.Random(SEED), Counter[str]()
    for _ in range(12):
        root = case.fresh()
        ready = fork.Event()

        def work(root: Path = root, ready: Any = ready) -> None:
            signal.signal(number, signal.default_int_handler)
            os.close(2)
            ready.set()
            try:
                victim.commit(root, kind, VERSION)
            except KeyboardInterrupt:
                os._exit(7)
            except ImgassetsError:
                os._exit(8)
            os._exit(0)

        process = fork.Process(target=work)
        process.start()
        ready.wait(20)
        time.sleep(dice.uniform(0, 0.008))
        os.kill(process.pid, number)  # type: ignore[arg-type]
        process.join()
        visible = case.look(root)
        seen[f"{process.exitcode}-{visible}"] += 1
        if process.exitcode and visible != "new":
            case.untouched(root)
        elif process.exitcode:
            case.settled(root)
        case.settle(root)
    print(dict(seen))


def test_a_termination_that_nobody_handles_is_like_a_kill(scratch: Path, kind: Kind) -> None:
    case = Case(kind, "republish", scratch)
    root = case.fresh()
    with owner(root, kind, lambda stage: victim.write(stage, FILES[kind][VERSION])) as pid:
        os.kill(pid, signal.SIGTERM)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        assert case.look(root) == "old"
        case.settle(root)
