"""Progress on a terminal, while Dagster's steps run in this process."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from imgassets.progress import listener

RATE_OF = 3600.0
"""Seconds that the time left is told from: a minute of checks, in which nothing is made, changes little of them."""


@contextmanager
def console() -> Iterator[Console]:
    """A console on what stderr is now: while a step runs, Dagster points its file descriptor at a file."""
    if not sys.stderr.isatty():
        yield Console(stderr=True)
        return
    with open(os.dup(sys.stderr.fileno()), "w", encoding=sys.stderr.encoding, errors=sys.stderr.errors) as terminal:
        yield Console(file=terminal)


class Bars(Progress):
    """A bar for each asset, and below them what the work is at."""

    def __init__(self, console: Console) -> None:
        self._note = ""
        super().__init__(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TaskProgressColumn(show_speed=True),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            speed_estimate_period=RATE_OF,
        )

    def __enter__(self) -> Self:
        self._before = listener.set(self._tell)
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:  # noqa: PYI036 (as Progress has it)
        listener.reset(self._before)
        self._note = ""
        super().__exit__(*error)

    def begin(self, name: str, partitions: int) -> TaskID:
        """The bar of an asset."""
        self._note = ""
        return self.add_task(name, total=partitions)

    def done(self, bar: TaskID) -> None:
        """One partition more."""
        self._note = ""
        self.advance(bar)

    def end(self, bar: TaskID) -> None:
        """Take the bar of an asset away: what is printed of it stays."""
        self.remove_task(bar)

    def get_renderables(self) -> Iterator[RenderableType]:
        """The bars and the note."""
        yield self.make_tasks_table(self.tasks)
        if self._note:
            yield Text(self._note, style="dim", no_wrap=True, overflow="ellipsis")

    def _tell(self, text: str) -> None:
        self._note = text
