"""Work done ahead by threads, handed over in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, TypeVar

In = TypeVar("In")
Out = TypeVar("Out")


def ordered(
    function: Callable[[In], Out],
    items: Iterable[In],
    threads: int,
    ahead: int,
    start: Callable[[], object] = lambda: None,
) -> Iterator[Out]:
    """Results in the order of the items, at most `ahead` of them being worked on or waiting; `start` runs first in
    each thread.

    An item costs a few microseconds, which `concurrent.futures` does not reach: batches of small images take a few
    hundred. Leaving the iteration waits for the items that have been begun, and no other is.
    """
    todo: SimpleQueue[tuple[In, SimpleQueue[Any]] | None] = SimpleQueue()

    def work() -> None:
        begun = False
        while job := todo.get():
            item, done = job
            try:
                if not begun:
                    start()
                    begun = True
                done.put((function(item), None))
            except BaseException as error:
                done.put((None, error))

    def submit(item: In) -> None:
        waiting.append(free.pop())
        todo.put((item, waiting[-1]))

    def result() -> Out:
        done = waiting.popleft()
        value, error = done.get()
        free.append(done)
        if error is not None:
            raise error
        return value  # type: ignore[no-any-return]

    workers = [Thread(target=work, name=f"imgassets-{k}", daemon=True) for k in range(threads)]
    for worker in workers:
        worker.start()
    free: list[SimpleQueue[Any]] = [SimpleQueue() for _ in range(ahead)]
    waiting: deque[SimpleQueue[Any]] = deque()
    try:
        for item in items:
            if free:
                submit(item)
            else:
                value = result()
                submit(item)  # before whoever takes the result spends time on it
                yield value
                del value  # its memory may be wanted
        while waiting:
            yield result()
    finally:
        try:
            while True:
                todo.get_nowait()
        except Empty:
            for _ in workers:
                todo.put(None)
        for worker in workers:
            worker.join()
