"""Ctrl-C and SIGTERM at any moment."""

from __future__ import annotations

import itertools
import os
import random
import signal
import sys
import time
from collections import Counter
from multiprocessing import get_context
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from imgassets.commit import lock
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


def test_an_interrupt_at_any_line_leaves_no_lock(scratch: Path) -> None:
    """Also when `with` is about to take the lock, or to let go of it."""
    for number in itertools.count():
        root = scratch / str(number)
        location = victim.location_in(victim.vault_at(root), "file")
        left = number

        def interrupt(frame: FrameType, event: str, argument: object) -> Any:
            nonlocal left
            if frame.f_code.co_filename != lock.__file__ or event not in {"call", "line"}:
                return None
            left -= 1
            if left < 0:
                sys.settrace(None)
                raise KeyboardInterrupt
            return interrupt

        before = sys.gettrace()
        sys.settrace(interrupt)
        try:
            victim.commit(root, "file", VERSION)
        except KeyboardInterrupt as error:
            told: BaseException | None = error  # its frames live on
        else:
            told = None
        finally:
            sys.settrace(before)
        assert not lock.file_of(location).exists(), (number, told)
        assert not lock.held(location)
        if told is None:
            break
    assert number > 60


def test_a_termination_that_nobody_handles_is_like_a_kill(scratch: Path, kind: Kind) -> None:
    case = Case(kind, "republish", scratch)
    root = case.fresh()
    with owner(root, kind, lambda stage: victim.write(stage, FILES[kind][VERSION])) as pid:
        os.kill(pid, signal.SIGTERM)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        assert case.look(root) == "old"
        case.settle(root)
