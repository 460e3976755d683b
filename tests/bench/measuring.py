"""Wall and CPU seconds of what takes turns in one run, as a table of ratios."""

from __future__ import annotations

import gc
import multiprocessing
import random
import resource
import statistics
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any


def cpu() -> float:
    """CPU seconds of this process, of its children that have ended, and of those that `multiprocessing` has running."""
    running = multiprocessing.active_children()  # whoever has ended is waited for, and counted with the ended
    spent = sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    for child in running:
        for task in Path(f"/proc/{child.pid}/task").glob("*/schedstat"):
            with suppress(OSError):
                spent += int(task.read_text().split()[0]) / 1e9
    return spent


def timed(function: Callable[[], Any]) -> tuple[float, float, Any]:
    """Wall seconds, CPU seconds, result."""
    gc.collect()
    wall, spent = time.perf_counter(), cpu()
    result = function()
    return time.perf_counter() - wall, cpu() - spent, result


class Table:
    """Medians over rounds, as ratios to the row `base`."""

    def __init__(self, title: str, unit: str, base: str) -> None:
        self.title, self.unit, self.base = title, unit, base
        self.rows: dict[str, list[tuple[float, float]]] = {}

    def run(self, rounds: int, runs: dict[str, Callable[[], Any]], before: Callable[[], Any] = lambda: None) -> None:
        """Time all in turns, each round in another order: what ran before decides what the caches hold.

        Each has an untimed run right before, since an operating system may page out what has idled for some seconds,
        and a virtual machine hand back memory that is free. `before` runs before every run, and is not timed.
        """
        self.rows |= {name: [] for name in runs}
        turns = random.Random(0)
        for _ in range(rounds):
            for name in turns.sample(list(runs), len(runs)):
                before()
                runs[name]()
                before()
                wall, spent, _ = timed(runs[name])
                self.rows[name].append((wall, spent))

    def show(self, count: int) -> None:
        """Print it for `count` images."""
        print(f"\n## {self.title}\n\n| | {self.unit}/s | x | {self.unit}/CPU s | x |\n|---|---|---|---|---|")
        medians = {name: [statistics.median(v) for v in zip(*some, strict=True)] for name, some in self.rows.items()}
        first = medians[self.base]
        for name, (wall, spent) in medians.items():
            print(
                f"| {name} | {count / wall:,.0f} | {first[0] / wall:.3g} "
                f"| {count / max(spent, 1e-9):,.0f} | {first[1] / max(spent, 1e-9):.3g} |",
                flush=True,
            )
